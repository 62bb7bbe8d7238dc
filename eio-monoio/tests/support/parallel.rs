//! Runs the cases of a test at the same time.

use std::thread;

/// Runs `body` for every case in a thread of its own, because tests mostly wait. A failure shows the case: it is the
/// name of the thread.
#[track_caller]
pub(crate) fn for_each<T: Send>(
    cases: impl IntoIterator<Item = (String, T)>,
    body: impl Fn(T) + Sync,
) {
    let body = &body;
    let failed = thread::scope(|scope| {
        let runs: Vec<_> = cases
            .into_iter()
            .map(|(name, case)| {
                let thread = thread::Builder::new().name(name.clone());
                let run = thread.spawn_scoped(scope, move || body(case)).expect("a thread");
                (name, run)
            })
            .collect();
        let failed = runs.into_iter().filter_map(|(name, run)| run.join().is_err().then_some(name));
        failed.collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "failed with {failed:?}");
}
