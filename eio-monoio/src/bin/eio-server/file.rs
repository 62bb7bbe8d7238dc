//! Reads options from a file in TOML: `name = value` for each, without tables.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::options::{self, GROUPS, Opt, Set};
use crate::settings::{Given, Origin};

/// Reads a file: its values, and a line for each part of it that is wrong.
pub(crate) fn read(path: &Path) -> (Given, Vec<String>) {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) => {
            (Given::default(), vec![format!("{}: cannot be read: {error}", path.display())])
        }
    }
}

fn parse(path: &Path, text: &str) -> (Given, Vec<String>) {
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let place = |at: usize| format!("{}:{}", path.display(), line(at));
    let (mut given, mut errors) = (Given::default(), Vec::new());
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let shown = text.lines().nth(line(at) - 1).unwrap_or_default().trim();
            let problem = error.message();
            let hint = "a line is `name = value`, with quotes around text";
            return (given, vec![format!("{}: {problem} in {shown:?}; {hint}", place(at))]);
        }
    };
    for (key, value) in table.get_ref() {
        let at = key.span().start;
        let Some(option) = options::find(key.get_ref()) else {
            let hint = options::nearest(key.get_ref());
            let hint = hint.map_or(String::new(), |name| format!("; did you mean {name}?"));
            errors.push(format!("{}: there is no option {:?}{hint}", place(at), key.get_ref()));
            continue;
        };
        match plain(value) {
            Ok(text) => {
                given.add(option.name, text, Origin::Line { file: path.into(), line: line(at) });
            }
            Err(problem) => errors.push(format!(
                "{}: {}: {problem} (range: {})",
                place(at),
                option.name,
                option.range
            )),
        }
    }
    (given, errors)
}

/// A value as a flag would have it: an array is a list with commas.
fn plain(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Array(values) => {
            let texts: Result<Vec<_>, _> = values.iter().map(plain).collect();
            Ok(texts?.join(","))
        }
        DeValue::Table(_) => Err("is a table; write name = value for each option"),
        DeValue::Float(_) | DeValue::Datetime(_) => Err("is neither text nor a whole number"),
    }
}

/// A file with the default of every option, as comments.
pub(crate) fn example() -> String {
    let mut text = String::from(
        "# The options of eio-server and their defaults: remove a # to set one. `eio-server --check --config FILE`\n\
         # checks a file. A flag (--ping-interval 25s) or a variable (EIO_PING_INTERVAL=25s) counts before it.\n",
    );
    for group in GROUPS {
        text.push_str(&format!("\n# {}\n", group.heading));
        for option in group.options {
            let Opt { name, default, range, help, .. } = option;
            let value = match (&option.set, default.parse::<usize>(), *default) {
                (Set::Bytes(_) | Set::Count(_), Ok(_), _) | (_, _, "true" | "false") => {
                    (*default).to_owned()
                }
                (Set::List(_), ..) if default.contains(',') => {
                    format!("[\"{}\"]", default.replace(',', "\", \""))
                }
                _ => format!("\"{default}\""),
            };
            text.push_str(&format!("\n# {help}.\n# Range: {range}.\n#{name} = {value}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let (given, errors) = parse(Path::new("f.toml"), text);
        given.check(errors).map(drop).expect_err("it is wrong")
    }

    #[test]
    fn errors_name_the_line_the_option_and_the_range() {
        assert_eq!(
            errors("# a comment\nping_interval = \"1ms\"\n\nworkers = 0\n"),
            [
                r#"f.toml:2: ping_interval = "1ms": 1ms is outside 10ms to 86400s"#,
                r#"f.toml:4: workers = "0": 0 is outside 1 to 1024"#,
            ]
        );
        assert_eq!(
            errors("ping_interval = 25\n"),
            [
                r#"f.toml:1: ping_interval = "25": a time needs a unit: ms, s, m, h or d (range: 10ms to 24h)"#
            ]
        );
        assert_eq!(
            errors("\npingInterval = \"25s\"\n"),
            [r#"f.toml:2: there is no option "pingInterval"; did you mean ping_interval?"#]
        );
        assert_eq!(errors("[tls]\ncert = \"a\"\n"), [r#"f.toml:1: there is no option "tls""#]);
        assert_eq!(
            errors("workers = 1.5\n"),
            ["f.toml:1: workers: is neither text nor a whole number (range: 1 to 1024)"]
        );
        assert_eq!(
            errors("workers = 1\nadmin = 127.0.0.1:9600\n"),
            [
                r#"f.toml:2: invalid float, expected nothing in "admin = 127.0.0.1:9600"; a line is `name = value`, with quotes around text"#
            ]
        );
        let twice = errors("workers = 1\nworkers = 2\n");
        assert!(twice[0].starts_with("f.toml:2: "), "{twice:?}");
    }

    #[test]
    fn every_form_of_a_value_is_read() {
        let text = "listen = '127.0.0.1:0'\nworkers = 2\nshare_port = true\n\
                    trusted_proxies = ['10.0.0.0/8', 'unix']\nunix_socket_mode = 0o660\n";
        let (given, errors) = parse(Path::new("f"), text);
        let (settings, _) = given.check(errors).expect("values in range");
        let debug = format!("{settings:?}");
        for part in ["workers: Some(2)", "share_port: true", "Unix", "Some(432)"] {
            assert!(debug.contains(part), "no {part} in {debug}");
        }
    }
}
