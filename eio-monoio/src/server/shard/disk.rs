//! [`Disk`]: threads that read files, so that a slow disk does not block a worker.
//!
//! A connection calls [`Disk::ask`]. A free thread takes the job and sends the reply as a [`ShardMessage`] to the
//! connection's shard, which wakes the connection: wakers must not be used from other threads.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use crate::server::shard::replies::Replies;
use crate::server::shard::shared::{ServerShared, ShardMessage};
use crate::web::compress::{Accepted, Coding, Deflater, is_compressible};
use crate::web::conditional::{Conditions, Decision, Validators, whole_seconds};
use crate::web::files::{Candidate, Files};

/// The most bytes of one read.
pub(crate) const PIECE: usize = 64 * 1024;

/// Larger files are not compressed for each request, which would take memory and time. They can be compressed once, and
/// stored next to the originals.
const MAX_COMPRESSED: u64 = 256 * 1024;

/// A shard's handle of the threads that read files. The threads end after all shards have dropped their handle.
pub(crate) struct Disk {
    pub(crate) files: Arc<Files>,
    /// Header lines of every file.
    pub(crate) lines: Vec<u8>,
    jobs: mpsc::Sender<Job>,
}

struct Job {
    shard: u16,
    ticket: u64,
    task: Task,
}

pub(crate) enum Task {
    Find(Box<Wanted>),
    /// Reads the next piece, into a buffer of any capacity.
    Read(Source, Vec<u8>),
}

/// A request that may be for a file.
pub(crate) struct Wanted {
    pub(crate) candidate: Candidate,
    pub(crate) conditions: Conditions,
    pub(crate) accepted: Accepted,
    pub(crate) is_get: bool,
    /// The smallest file that may be compressed, in bytes; `None`: no file is compressed.
    pub(crate) compress_from: Option<usize>,
}

pub(crate) enum Reply {
    Found(Found),
    /// Bytes, and the source of the remaining ones.
    Piece(Vec<u8>, Option<Source>),
    Failed(io::Error),
}

pub(crate) enum Found {
    Missing,
    /// A directory, whose URL does not end in a slash.
    Directory,
    File(Box<Opened>),
}

/// An open file, and the response to the request.
pub(crate) struct Opened {
    pub(crate) decision: Decision,
    pub(crate) validators: Validators,
    pub(crate) content_type: String,
    pub(crate) coding: Option<Coding>,
    /// The response depends on `Accept-Encoding`.
    pub(crate) varies: bool,
    /// The length of the complete representation, of which a part may be sent.
    pub(crate) len: u64,
    /// The first bytes of the content; empty for HEAD.
    pub(crate) first: Vec<u8>,
    pub(crate) rest: Option<Source>,
}

/// The bytes of a file that have not been read yet.
pub(crate) struct Source {
    file: File,
    at: u64,
    left: u64,
}

impl Disk {
    /// Starts the threads.
    pub(crate) fn start(files: Files, shared: &Arc<ServerShared>) -> io::Result<Self> {
        let lines = files.lines().map_err(io::Error::other)?;
        let files = Arc::new(files);
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..files.threads {
            let (queue, shared, files) = (queue.clone(), shared.clone(), files.clone());
            let thread = std::thread::Builder::new().name(format!("eio-disk-{n}"));
            thread.spawn(move || work(&queue, &shared, &files))?;
        }
        Ok(Self { files, lines, jobs })
    }

    /// Runs a task on a thread for a shard. If this future is dropped, the reply is dropped too.
    pub(crate) async fn ask(&self, replies: &Replies<Reply>, shard: u16, task: Task) -> Reply {
        let expected = replies.expect();
        if self.jobs.send(Job { shard, ticket: expected.number, task }).is_err() {
            return Reply::Failed(io::Error::other("the threads that read files have ended"));
        }
        expected.reply().await
    }
}

/// Runs jobs until all handles have been dropped.
fn work(queue: &Mutex<mpsc::Receiver<Job>>, shared: &ServerShared, files: &Files) {
    let deflater = Deflater::thorough();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { shard, ticket, task }) = next else { return };
        let reply = match task {
            Task::Find(wanted) => find(files, &wanted, &deflater).map(Reply::Found),
            Task::Read(source, buffer) => {
                source.read(buffer).map(|(bytes, rest)| Reply::Piece(bytes, rest))
            }
        };
        shared.post(shard, ShardMessage::Disk(ticket, reply.unwrap_or_else(Reply::Failed)));
    }
}

fn find(files: &Files, wanted: &Wanted, deflater: &Deflater) -> io::Result<Found> {
    match locate(files, &wanted.candidate) {
        Ok(Located::Directory) => Ok(Found::Directory),
        Ok(Located::File(place)) => open(wanted, place, files, deflater),
        Err(error) => Err(error),
    }
    .or_else(|error| if is_absence(&error) { Ok(Found::Missing) } else { Err(error) })
}

/// Whether an error means that the file does not exist or is not public.
fn is_absence(error: &io::Error) -> bool {
    let loops = error.raw_os_error() == Some(libc::ELOOP);
    let too_long = error.raw_os_error() == Some(libc::ENAMETOOLONG);
    let no_device = error.raw_os_error() == Some(libc::ENXIO);
    loops
        || too_long
        || no_device
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidInput
        )
}

enum Located {
    Directory,
    File(Place),
}

/// An existing file, by a path without symbolic links.
struct Place {
    path: PathBuf,
    /// The directory that contains the file and its precompressed siblings.
    root: PathBuf,
    /// The file name in the URL, or of the default file.
    name: String,
    is_default: bool,
}

fn locate(files: &Files, candidate: &Candidate) -> io::Result<Located> {
    let base = fs::canonicalize(&candidate.base)?;
    let is_base = candidate.rest.is_empty();
    let path = if is_base { base.clone() } else { within(&base, &base.join(&candidate.rest))? };
    if fs::metadata(&path)?.is_dir() {
        let path = within(&base, &path.join(&files.default_file))?;
        if !candidate.is_directory {
            return Ok(Located::Directory);
        }
        let name = files.default_file.clone();
        return Ok(Located::File(Place { path, root: base, name, is_default: true }));
    }
    if is_base {
        // A rule for one file: its siblings are in the same directory.
        let root = path.parent().unwrap_or(&path).to_owned();
        let name = candidate.base.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        return Ok(Located::File(Place { path, root, name, is_default: false }));
    }
    if candidate.is_directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let name = candidate.rest.clone();
    Ok(Located::File(Place { path, root: base, name, is_default: false }))
}

/// The path without symbolic links, if it is below `root`.
fn within(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    if real.starts_with(root) { Ok(real) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Opens a regular file. Does not wait for the writer of a pipe, and does not follow a symbolic link that has replaced
/// the file since its path was resolved.
fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn open(wanted: &Wanted, place: Place, files: &Files, deflater: &Deflater) -> io::Result<Found> {
    let content_type = files.type_of(&wanted.candidate, &place.name, place.is_default);
    let (mut file, mut metadata) = open_regular(&place.path)?;
    let siblings = [Coding::Brotli, Coding::Gzip].map(|coding| sibling(&place, coding));
    let mut varies = siblings.iter().any(Option::is_some);
    let mut coding = None;
    for stored in wanted.accepted.stored() {
        let path = if stored == Coding::Brotli { &siblings[0] } else { &siblings[1] };
        if let Some(opened) = path.as_ref().and_then(|path| open_regular(path).ok()) {
            ((file, metadata), coding) = (opened, Some(stored));
            break;
        }
    }
    let len = metadata.len();
    let worthwhile =
        wanted.compress_from.is_some_and(|from| len >= from as u64 && len <= MAX_COMPRESSED)
            && is_compressible(&content_type);
    varies |= worthwhile;
    // No range of a file that is compressed for each request: the bytes may differ between two requests.
    let make = if worthwhile && coding.is_none() && !wanted.conditions.asks_for_range() {
        wanted.accepted.made()
    } else {
        None
    };
    let validators = validators(&metadata, make.or(coding));
    let mut opened = Opened {
        decision: Decision::Whole,
        validators,
        content_type,
        coding: make.or(coding),
        varies,
        len,
        first: Vec::new(),
        rest: None,
    };
    opened.decision = wanted.conditions.decide(&opened.validators, len, wanted.is_get);
    let range = match &opened.decision {
        Decision::Whole => 0..len,
        Decision::Part(range) => range.clone(),
        _ => 0..0,
    };
    if let (Some(make), Decision::Whole) = (make, &opened.decision) {
        let mut plain = vec![0; len as usize];
        file.read_exact_at(&mut plain, 0)?;
        // Even if that is larger: the entity tag names the coding.
        let compressed = deflater.always(make, &plain);
        let compressed = compressed.ok_or_else(|| io::Error::other("the compressor failed"))?;
        opened.len = compressed.len() as u64;
        if wanted.is_get {
            opened.first = compressed;
        }
    } else if wanted.is_get && !range.is_empty() {
        let source = Source { file, at: range.start, left: range.end - range.start };
        (opened.first, opened.rest) = source.read(Vec::new())?;
    }
    Ok(Found::File(Box::new(opened)))
}

/// The precompressed file next to `place`.
fn sibling(place: &Place, coding: Coding) -> Option<PathBuf> {
    let mut path = OsString::from(&place.path);
    path.push(if coding == Coding::Brotli { ".br" } else { ".gz" });
    within(&place.root, Path::new(&path)).ok()
}

/// The entity tag contains the time of the last status change, which every change of the file updates, even where a
/// build gives all files the same modification time. Each coding is a separate representation, with its own tag (RFC
/// 9110 section 8.8.3.3).
fn validators(metadata: &fs::Metadata, coding: Option<Coding>) -> Validators {
    let (dash, coding) = coding.map_or(("", ""), |coding| ("-", coding.name()));
    let [modified, changed] =
        [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())]
            .map(|(seconds, nanos)| format!("{seconds:x}.{nanos:x}"));
    let etag = format!("\"{modified}-{changed}-{:x}{dash}{coding}\"", metadata.len());
    let modified = metadata.modified().unwrap_or(std::time::UNIX_EPOCH);
    Validators { etag, modified: whole_seconds(modified) }
}

impl Source {
    /// Reads one piece. A file that has become shorter is an error: the response has sent its length already.
    fn read(mut self, mut buffer: Vec<u8>) -> io::Result<(Vec<u8>, Option<Self>)> {
        buffer.clear();
        buffer.resize(self.left.min(PIECE as u64) as usize, 0);
        self.file.read_exact_at(&mut buffer, self.at)?;
        self.at += buffer.len() as u64;
        self.left -= buffer.len() as u64;
        let rest = (self.left > 0).then_some(self);
        Ok((buffer, rest))
    }
}
