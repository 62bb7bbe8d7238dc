//! Runs a command with a time limit and collects its output.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process;

/// Runs a command to its end and returns its output on both streams. `on_line` receives each line of stdout at once.
///
/// # Errors
///
/// The command cannot be started, fails, or does not end within `limit`; then it is killed together with its children.
/// The text holds the output.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<String, String> {
    // A process group of its own: the kill reaches its children, which would keep the pipes open.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let (lines, printed) = mpsc::channel();
    forward(child.stdout.take(), Stream::Out, lines.clone());
    forward(child.stderr.take(), Stream::Err, lines);

    let deadline = Instant::now() + limit;
    let mut output = String::new();
    let in_time = loop {
        match printed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((stream, line)) => {
                output.push_str(&line);
                output.push('\n');
                if stream == Stream::Out {
                    on_line(&line);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let status = if in_time { process::wait(&mut child, left) } else { None };
    match status {
        Some(status) if status.success() => Ok(output),
        Some(status) => Err(format!("{command:?} failed ({status}):\n{output}")),
        None => {
            process::signal("-KILL", &format!("-{}", child.id()));
            _ = child.wait();
            Err(format!("{command:?} was killed after {} s:\n{output}", limit.as_secs()))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

fn forward(
    pipe: Option<impl Read + Send + 'static>,
    stream: Stream,
    lines: Sender<(Stream, String)>,
) {
    let pipe = pipe.expect("the stream is piped");
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send((stream, line)).is_err() {
                break;
            }
        }
    });
}
