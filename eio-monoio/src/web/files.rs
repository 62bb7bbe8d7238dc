//! [`Files`]: static files, by rules from URLs to paths.

use std::path::PathBuf;
use std::sync::Arc;

use eio_core::http::header_line;

use crate::message::OutBuf;
use crate::web::content_type;
use crate::web::path::{decode, is_hidden};

/// Static files, served besides Engine.IO by [`Server::files`](crate::Server::files), with the rules of
/// python-engineio's `static_files`.
///
/// A request is for Engine.IO if its path is [`Config::path`](crate::Config::path); otherwise for a file if a rule leads
/// to one; otherwise for [`Handler::request`](crate::Handler::request).
///
/// ```
/// use eio_monoio::Files;
///
/// let files = Files::new()
///     .route("/", "index.html") // one URL, one file
///     .route("/static", "./public") // /static/a/b.css is ./public/a/b.css
///     .route_as("/feed", "feed.xml", "application/rss+xml");
/// assert!(files.check().is_ok());
/// ```
///
/// # Choice of the rule
/// The rule for the URL itself, otherwise the rule for its longest parent, which ends at a slash. A URL that ends in `/`,
/// and a rule whose path ends in `/`, lead to the [`default_file`](Self::default_file) of the directory. The URL of a
/// directory without the final slash is redirected to the URL with it. Rules are compared with the percent-decoded path.
///
/// # Files that are not served
/// - paths with a segment `.` or `..` or an empty segment, percent-encoded or not;
/// - paths with an encoded slash, a backslash, NUL or another control character, and paths that are not UTF-8;
/// - files that a symbolic link leads to outside the rule's directory (the path of a rule itself may contain one);
/// - names that begin with a dot, except `.well-known`, unless [`hidden`](Self::hidden) allows them;
/// - everything that is not a regular file.
///
/// Such a request is answered as if the file did not exist.
///
/// # Responses
/// GET and HEAD are supported, with `ETag`, `Last-Modified`, conditional requests and single ranges (RFC 9110 sections
/// 13 and 14); other methods are answered 405. If a file `x.br` or `x.gz` exists next to `x`, it is sent to clients that
/// accept its coding. Otherwise, with [`http_compression`](crate::Config::http_compression), files of up to 256 KiB and
/// of a compressible type are compressed. Separate threads read the files, in chunks of 64 KiB.
#[derive(Clone, Debug)]
pub struct Files {
    rules: Vec<Rule>,
    pub(crate) default_file: String,
    default_type: Option<Arc<str>>,
    types: Vec<(String, Arc<str>)>,
    charset: String,
    headers: Vec<(String, String)>,
    cache_control: String,
    hidden: bool,
    pub(crate) threads: usize,
}

#[derive(Clone, Debug)]
struct Rule {
    url: String,
    path: PathBuf,
    /// The path is a directory, whose default file is served.
    path_ends_in_slash: bool,
    content_type: Option<Arc<str>>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            default_file: "index.html".into(),
            default_type: None,
            types: Vec::new(),
            charset: "utf-8".into(),
            headers: Vec::new(),
            cache_control: "no-cache".into(),
            hidden: false,
            threads: 2,
        }
    }
}

impl Files {
    /// Without rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule. If `path` is a file, `url` leads to it; if `path` is a directory, the URLs below `url` lead to the
    /// files below it.
    ///
    /// `url` begins with `/` and is not percent-encoded. A relative path is resolved from the working directory. A second
    /// rule for the same URL replaces the first.
    #[must_use]
    pub fn route(self, url: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.add(url.into(), path.into(), None)
    }

    /// Adds a rule whose files have this media type, regardless of their extension.
    #[must_use]
    pub fn route_as(
        self,
        url: impl Into<String>,
        path: impl Into<PathBuf>,
        content_type: impl Into<String>,
    ) -> Self {
        let content_type: String = content_type.into();
        self.add(url.into(), path.into(), Some(content_type.into()))
    }

    fn add(mut self, url: String, path: PathBuf, content_type: Option<Arc<str>>) -> Self {
        let path_ends_in_slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        self.rules.retain(|rule| rule.url != url);
        self.rules.push(Rule { url, path, path_ends_in_slash, content_type });
        self
    }

    /// The file that a directory's URL leads to.
    ///
    /// **Default:** `index.html`. **Range:** a file name without a slash.
    ///
    /// python-engineio: the key `''`.
    #[must_use]
    pub fn default_file(mut self, name: impl Into<String>) -> Self {
        self.default_file = name.into();
        self
    }

    /// The same as [`default_file`](Self::default_file), with its media type.
    #[must_use]
    pub fn default_file_as(self, name: impl Into<String>, content_type: impl Into<String>) -> Self {
        let content_type: String = content_type.into();
        Self { default_type: Some(content_type.into()), ..self.default_file(name) }
    }

    /// The media type of an extension (without its dot). It takes precedence over the built-in table.
    ///
    /// **Default:** the built-in table of 41 extensions. Other extensions are `application/octet-stream`.
    #[must_use]
    pub fn content_type(
        mut self,
        extension: impl Into<String>,
        content_type: impl Into<String>,
    ) -> Self {
        let content_type: String = content_type.into();
        self.types.insert(0, (extension.into(), content_type.into()));
        self
    }

    /// The `charset` parameter of `text/*` and `image/svg+xml`.
    ///
    /// **Default:** `utf-8`. Empty: no parameter.
    #[must_use]
    pub fn charset(mut self, charset: impl Into<String>) -> Self {
        self.charset = charset.into();
        self
    }

    /// The `Cache-Control` header of every file.
    ///
    /// **Default:** `no-cache`: browsers store the file, and revalidate it before each use. Empty: no header.
    #[must_use]
    pub fn cache_control(mut self, value: impl Into<String>) -> Self {
        self.cache_control = value.into();
        self
    }

    /// Adds a header to the response for every file.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Whether names that begin with a dot are served, such as `.git`.
    ///
    /// **Default:** false.
    #[must_use]
    pub fn hidden(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    /// The number of threads that read files: as many reads can wait for a disk at the same time. Further reads are
    /// queued.
    ///
    /// **Default:** 2. **Range:** 1 to 64.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Checks every value, as [`Server::bind`](crate::Server::bind) does. The files need not exist yet.
    ///
    /// # Errors
    /// A description of the first invalid value.
    pub fn check(&self) -> Result<(), String> {
        if let Some(rule) = self.rules.iter().find(|rule| !rule.url.starts_with('/')) {
            return Err(format!("the URL {:?} must begin with /", rule.url));
        }
        if let Some(rule) = self.rules.iter().find(|rule| rule.path.as_os_str().is_empty()) {
            return Err(format!("the URL {:?} needs a path", rule.url));
        }
        let name = &self.default_file;
        if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
            return Err("the default file must be a file name".into());
        }
        if !(1..=64).contains(&self.threads) {
            return Err(format!("{} threads are outside 1 to 64", self.threads));
        }
        let types = self.types.iter().map(|(_, content_type)| content_type);
        let types = types.chain(self.rules.iter().filter_map(|rule| rule.content_type.as_ref()));
        for content_type in types.chain(&self.default_type) {
            let slash = content_type.split_once('/');
            if slash.is_none_or(|(kind, sub)| kind.is_empty() || sub.is_empty()) {
                return Err(format!("{content_type:?} is not a media type"));
            }
            self.line("Content-Type", content_type)?;
        }
        self.line("Content-Type", &self.charset)?;
        self.lines().map(drop)
    }

    /// The paths of rules that do not exist or cannot be read now. They may exist later.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&std::path::Path, std::io::Error)> {
        self.rules.iter().filter_map(|rule| {
            let path = rule.path.as_path();
            let readable = std::fs::metadata(path).and_then(|file| match file.is_dir() {
                true => std::fs::read_dir(path).map(drop),
                false => std::fs::File::open(path).map(drop),
            });
            readable.err().map(|error| (path, error))
        })
    }

    fn line(&self, name: &str, value: &str) -> Result<Vec<u8>, String> {
        let mut out = OutBuf::default();
        header_line(&mut out, name, &[value])
            .map_err(|_| format!("{name}: {value:?} is not a legal header"))?;
        Ok(out.0)
    }

    /// The header lines of every file.
    pub(crate) fn lines(&self) -> Result<Vec<u8>, String> {
        let mut lines = Vec::new();
        if !self.cache_control.is_empty() {
            lines.extend(self.line("Cache-Control", &self.cache_control)?);
        }
        for (name, value) in &self.headers {
            lines.extend(self.line(name, value)?);
        }
        Ok(lines)
    }

    /// The file that a path may lead to; the file system is not accessed. `path`: as received, without the query.
    pub(crate) fn resolve(&self, path: &str) -> Option<Candidate> {
        let decoded = decode(path)?;
        if let Some(rule) = self.rules.iter().find(|rule| rule.url == decoded) {
            return Some(Candidate {
                content_type: rule.content_type.clone(),
                is_directory: decoded.ends_with('/') || rule.path_ends_in_slash,
                base: rule.path.clone(),
                rest: String::new(),
            });
        }
        let mut end = decoded.len();
        loop {
            end = decoded[..end].rfind('/')?;
            let (parent, rest) = (&decoded[..end], &decoded[end + 1..]);
            let fits = |rule: &&Rule| {
                rule.url == parent || rule.url.strip_suffix('/').is_some_and(|url| url == parent)
            };
            let Some(rule) = self.rules.iter().find(fits) else { continue };
            let segments = || rest.split('/').filter(|segment| !segment.is_empty());
            if !self.hidden && segments().any(is_hidden) {
                return None;
            }
            return Some(Candidate {
                content_type: rule.content_type.clone(),
                is_directory: decoded.ends_with('/'),
                base: rule.path.clone(),
                rest: rest.trim_end_matches('/').into(),
            });
        }
    }

    /// The media type of a file. `is_default`: the name is the default file's.
    pub(crate) fn type_of(&self, candidate: &Candidate, name: &str, is_default: bool) -> String {
        let extension = content_type::extension(name);
        let configured = || {
            let mut types = self.types.iter();
            let known = types.find(|(known, _)| known.eq_ignore_ascii_case(extension));
            known.map(|(_, content_type)| &**content_type)
        };
        let default_type = self.default_type.as_deref().filter(|_| is_default);
        if let Some(fixed) = default_type.or(candidate.content_type.as_deref()) {
            return fixed.into();
        }
        let found = configured().or_else(|| content_type::by_extension(extension));
        let found = found.unwrap_or(content_type::UNKNOWN);
        if content_type::wants_charset(found) && !self.charset.is_empty() {
            format!("{found}; charset={}", self.charset)
        } else {
            found.into()
        }
    }
}

/// The file or directory that a URL may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The path of the rule.
    pub(crate) base: PathBuf,
    /// The segments below `base`, without `..`; empty if the URL leads to `base` itself.
    pub(crate) rest: String,
    /// The URL denotes a directory: its default file is served, and a regular file matches only if `rest` is empty.
    pub(crate) is_directory: bool,
    content_type: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn files() -> Files {
        Files::new()
            .route("/", "site/home.html")
            .route("/app.js", "build/app.js")
            .route("/static", "public")
            .route("/static/deep", "elsewhere")
            .route("/slash/", "./slashed/")
            .route("/dir", "dir/")
            .route_as("/feed", "feed.bin", "application/rss+xml")
            .route("/sp ace", "spaced")
    }

    #[test]
    fn a_url_leads_to_the_file_of_the_longest_rule() {
        for (url, expected) in [
            ("/", Some(("site/home.html", "", true))),
            ("/app.js", Some(("build/app.js", "", false))),
            ("/app%2ejs", Some(("build/app.js", "", false))),
            ("/static", Some(("public", "", false))),
            ("/static/", Some(("public", "", true))),
            ("/static/a/b.css", Some(("public", "a/b.css", false))),
            ("/static/a/", Some(("public", "a", true))),
            ("/static/deep/x", Some(("elsewhere", "x", false))),
            ("/static/deeper/x", Some(("public", "deeper/x", false))),
            ("/slash/", Some(("./slashed/", "", true))),
            ("/slash/x", Some(("./slashed/", "x", false))),
            // python-engineio: the rule "/" is a parent of everything.
            ("/slash", Some(("site/home.html", "slash", false))),
            ("/dir", Some(("dir/", "", true))),
            ("/feed", Some(("feed.bin", "", false))),
            ("/sp%20ace/%C3%A9", Some(("spaced", "é", false))),
            ("/static/.git/config", None),
            ("/static/.well-known/x", Some(("public", ".well-known/x", false))),
            ("/static/..", None),
            ("/static/../secret", None),
            ("/static/./x", None),
            ("/static/%2e%2e/secret", None),
            ("/static/.%2E/secret", None),
            ("/static/..%2fsecret", None),
            ("/static/..\\secret", None),
            ("/static/..%5csecret", None),
            ("/static/a%00.css", None),
            ("/static/a%0a", None),
            ("/static//etc/passwd", None),
            ("//static/x", None),
            ("//", None),
            ("/static/%", None),
            ("/static/%4", None),
            ("/static/%zz", None),
            ("/static/%+1", None),
            ("/static/%ff", None),
            ("*", None),
            ("", None),
        ] {
            let found = files().resolve(url);
            let found = found.map(|c| (c.base.display().to_string(), c.rest, c.is_directory));
            let expected = expected.map(|(base, rest, dir)| (base.into(), rest.into(), dir));
            assert_eq!(found, expected, "{url}");
        }
        assert_eq!(Files::new().route("/a", "a").resolve("/b"), None);
        assert!(files().hidden(true).resolve("/static/.git/config").is_some());
        assert_eq!(files().hidden(true).resolve("/static/../secret"), None);
    }

    #[test]
    fn the_media_type_follows_from_rule_and_extension() {
        let files = files().content_type("data", "application/x-data").content_type("css", "x/css");
        let of = |url, name| files.type_of(&files.resolve(url).unwrap(), name, false);
        assert_eq!(of("/static/a.html", "a.html"), "text/html; charset=utf-8");
        assert_eq!(of("/static/a.JSON", "a.JSON"), "application/json");
        assert_eq!(of("/static/a.data", "a.data"), "application/x-data");
        assert_eq!(of("/static/a.css", "a.css"), "x/css");
        assert_eq!(of("/static/a", "a"), "application/octet-stream");
        assert_eq!(of("/feed", "feed.bin"), "application/rss+xml");
        let files = files.default_file_as("main", "text/x").charset("");
        let root = files.resolve("/static/").unwrap();
        assert_eq!(files.type_of(&root, "main", true), "text/x");
        assert_eq!(files.type_of(&root, "a.txt", false), "text/plain");
    }

    #[test]
    fn check_names_the_invalid_value() {
        let base = || Files::new().route("/", "x");
        for (files, word) in [
            (Files::new().route("static", "x"), "begin with /"),
            (Files::new().route("/x", ""), "needs a path"),
            (base().default_file("../x"), "default file"),
            (base().default_file(""), "default file"),
            (base().threads(0), "threads"),
            (base().header("a b", "c"), "a b"),
            (base().header("a", "c\r\nd: e"), "legal"),
            (base().cache_control("\n"), "Cache-Control"),
            (base().content_type("a", "text"), "media type"),
            (base().content_type("a", "text/a\r\nb"), "legal"),
            (base().charset("\n"), "legal"),
        ] {
            let error = files.check().unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(base().check(), Ok(()));
    }

    proptest! {
        /// For every URL, the path is lexically below the path of the rule.
        #[test]
        fn no_url_leads_outside_the_rules_directory(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("/".to_owned()), Just("..".to_owned()), Just(".".to_owned()),
                    Just("%2e".to_owned()), Just("%2F".to_owned()), Just("%5c".to_owned()),
                    Just("\\".to_owned()), Just("%00".to_owned()), Just("%25".to_owned()),
                    Just("static".to_owned()), "[!-~]{0,4}",
                ],
                0..12,
            ),
            hidden in any::<bool>(),
        ) {
            let url = format!("/{}", parts.concat());
            let files = Files::new().route("/", "root/").route("/static", "root").hidden(hidden);
            if let Some(candidate) = files.resolve(&url) {
                let path = candidate.base.join(&candidate.rest);
                prop_assert!(path.starts_with("root"), "{url} {path:?}");
                let normal = |c: Component<'_>| matches!(c, Component::Normal(_));
                prop_assert!(path.components().all(normal), "{url} {path:?}");
                let hidden_name = candidate.rest.split('/').any(is_hidden);
                prop_assert!(hidden || !hidden_name, "{url} {path:?}");
                prop_assert!(!candidate.rest.contains(['\0', '\\']), "{url} {path:?}");
            }
        }
    }
}
