//! Mistakes of newcomers: what the compiler says about each must name the fix, or a document explains it.
//!
//! Each file of `cases` is a program with one mistake. Its first lines say what the mistake is and what the compiler has
//! to say: `//~ error` or `//~ warning` is the outcome, each `//: text` a part of the output. `//~ explained by FILE`
//! marks a message that rustc alone words; the documentation in that file must contain the text after `//= `.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

fn main_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes/cases")
}

/// Programs compiled at a time.
const THREADS: usize = 2;

#[test]
fn every_mistake_gets_a_message_that_names_the_fix() {
    let compiler = Compiler::find();
    let mut cases: Vec<_> = fs::read_dir(main_dir())
        .expect("the cases")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 20, "only {} mistakes", cases.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            failures.extend(check(&compiler, case));
        }
        failures
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Compares the output of the compiler with the case, and returns the differences.
fn check(compiler: &Compiler, case: &Path) -> Option<String> {
    let source = fs::read_to_string(case).expect("a case");
    let marked = |mark| source.lines().filter_map(move |line| line.strip_prefix(mark));
    let outcome = marked("//~ ").next().expect("an outcome");
    let (compiles, output) = compiler.compile(case);
    let mut wrong = Vec::new();
    if compiles != (outcome == "warning") {
        wrong.push(format!("expected: {outcome}"));
    }
    wrong.extend(
        marked("//: ").filter(|part| !output.contains(part)).map(|part| format!("missing: {part}")),
    );
    if marked("//: ").next().is_none() {
        wrong.push("no part of the message is recorded".into());
    }
    for explained in marked("//~ explained by ") {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(explained);
        let text = fs::read_to_string(&document).expect("the document");
        wrong.extend(
            marked("//= ")
                .filter(|part| !text.contains(part))
                .map(|part| format!("not in {explained}: {part}")),
        );
    }
    (!wrong.is_empty()).then(|| format!("{}\n{}\n{output}", case.display(), wrong.join("\n")))
}

/// rustc with this crate as it was compiled for this test.
struct Compiler {
    library: PathBuf,
    out: PathBuf,
}

impl Compiler {
    fn find() -> Self {
        let test = std::env::current_exe().expect("this test");
        let dependencies = test.parent().expect("a folder");
        let mut libraries: Vec<_> = fs::read_dir(dependencies)
            .expect("the dependencies")
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                let is_library = name.starts_with("libeio_monoio-") && name.ends_with(".rlib");
                is_library.then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        libraries.sort();
        let out = std::env::temp_dir().join(format!("eio-mistakes-{}", std::process::id()));
        fs::create_dir_all(&out).expect("a folder");
        let control = out.join("control.rs");
        fs::write(&control, "fn main() { _ = eio_monoio::Config::new(); }").expect("a file");
        // The newest one whose own dependencies are the ones in the folder.
        let candidates = libraries.into_iter().rev();
        let mut compilers = candidates.map(|(_, library)| Self { library, out: out.clone() });
        compilers.find(|compiler| compiler.compile(&control).0).expect("a compiled eio_monoio")
    }

    /// Whether the program compiles, and what rustc prints.
    fn compile(&self, source: &Path) -> (bool, String) {
        let name = source.file_stem().and_then(|name| name.to_str()).expect("a name");
        let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
        let dependencies = self.library.parent().expect("a folder");
        let output = Command::new(rustc)
            // So that rustc finds, and quotes, the source of this crate.
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .args(["--edition=2024", "--emit=obj", "--error-format=human", "--color=never"])
            .arg(format!("--crate-name=mistake_{}", name.replace('-', "_")))
            .arg(format!("--extern=eio_monoio={}", self.library.display()))
            .arg(format!("-Ldependency={}", dependencies.display()))
            .arg("-o")
            .arg(self.out.join(name))
            .arg(source)
            .output()
            .expect("rustc runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.out);
    }
}
