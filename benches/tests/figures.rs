//! README.md, the plots and the analysis show the figures that the tables in BENCHMARKS.md record, and the report judges
//! the goals.

use std::fs;
use std::path::Path;
use std::process::Command;

/// README.md's rows: the section of BENCHMARKS.md, the column of its table, and by how much the figure is divided.
const ROWS: [(&str, usize, f64); 5] = [
    ("WebSocket echo, 64 connections, 1 in flight, 32 B", 2, 1.0),
    ("WebSocket echo, 64 connections, 16 in flight, 32 B", 2, 1.0),
    ("Polling round trip (POST and GET), 64 sessions, 32 B", 2, 1.0),
    ("Handshake, probe, upgrade, one echo, close, 128 at a time", 2, 1.0),
    ("19,000 idle WebSocket sessions", 1, 1000.0),
];
/// README.md's columns, after the label of the row.
const SERVERS: [&str; 4] = ["eio", "engineioxide", "engine.io", "python-engineio-asgi"];

/// A file of the repository.
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text between the two markers of a block.
fn block<'t>(text: &'t str, name: &str) -> &'t str {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    rest.split_once(&end).unwrap_or_else(|| panic!("no {end}")).0
}

/// The cells of each row of the first table in `text`, without its header.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let table = text.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(plain).collect()).collect()
}

/// A cell without emphasis.
fn plain(cell: &str) -> &str {
    cell.trim().trim_matches('*')
}

/// The sections of BENCHMARKS.md's results: title and text.
fn sections(benchmarks: &str) -> Vec<(&str, &str)> {
    let results = block(benchmarks, "results").split("\n### ").skip(1);
    results.map(|section| section.split_once('\n').expect("a title line")).collect()
}

/// The figures of one section by server.
fn figures<'t>(sections: &[(&str, &'t str)], title: &str, column: usize) -> Vec<(&'t str, f64)> {
    let section = sections.iter().find(|(name, _)| *name == title);
    let (_, text) = section.unwrap_or_else(|| panic!("no section {title}"));
    let figure = |row: &Vec<&'t str>| {
        let median = row[column].split(' ').next().unwrap_or_default();
        (row[0], median.replace(',', "").parse().expect("a number"))
    };
    rows(text).iter().map(figure).collect()
}

/// With as many decimals as `shown` has.
fn like(shown: &str, figure: f64) -> String {
    let decimals = shown.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    format!("{figure:.decimals$}")
}

/// An entry of the list that describes the run, such as `eio: e08dd12`.
fn machine<'t>(benchmarks: &'t str, key: &str) -> &'t str {
    let prefix = format!("- {key}: ");
    let mut values = block(benchmarks, "run").lines().filter_map(|line| line.strip_prefix(&prefix));
    values.next().unwrap_or_else(|| panic!("the run does not name {key}"))
}

const FIX: &str =
    "run benches/compare/readme.py, which writes README.md's table from BENCHMARKS.md";

#[test]
fn readme_shows_the_figures_of_benchmarks() {
    let (benchmarks, readme) = (read("BENCHMARKS.md"), read("README.md"));
    let sections = sections(&benchmarks);
    let shown = rows(block(&readme, "figures"));
    assert_eq!(shown.len(), ROWS.len(), "{FIX}");
    for (cells, (title, column, divisor)) in shown.iter().zip(ROWS) {
        let recorded = figures(&sections, title, column);
        for (server, cell) in SERVERS.iter().zip(&cells[1..]) {
            let row = recorded.iter().find(|(name, _)| name == server);
            let (_, figure) = row.unwrap_or_else(|| panic!("{title} has no row of {server}"));
            let cell = cell.replace(',', "");
            assert_eq!(cell, like(&cell, figure / divisor), "{title}, {server}: {FIX}");
            let digits = cell.chars().filter(char::is_ascii_digit).count();
            assert!(digits > 1, "{title}, {server}: {cell} has one digit");
        }
    }
}

#[test]
fn readme_and_analysis_name_the_run_of_the_tables() {
    let (benchmarks, readme) = (read("BENCHMARKS.md"), read("README.md"));
    let figures = block(&readme, "figures");
    for key in ["eio", "taken", "CPU"] {
        assert!(figures.contains(machine(&benchmarks, key)), "README.md names no {key}: {FIX}");
    }
    let (_, analysis) = benchmarks.split_once("\n## Analysis\n").expect("an analysis");
    let (first, _) = analysis.trim_start().split_once("\n\n").expect("a paragraph");
    assert!(
        first.contains(machine(&benchmarks, "eio")),
        "the analysis in BENCHMARKS.md describes another run: review it, and name the run"
    );
}

#[test]
fn plots_show_the_figures_of_benchmarks() {
    let benchmarks = read("BENCHMARKS.md");
    let sections = sections(&benchmarks);
    assert!(!sections.is_empty(), "no results");
    for (title, text) in &sections {
        let column = if text.contains("| memory per session, B |") { 1 } else { 2 };
        let (_, link) = text.rsplit_once("](").unwrap_or_else(|| panic!("{title} has no plot"));
        let (path, _) = link.split_once(')').expect("a link");
        let plot = read(path);
        assert!(plot.contains(&format!(">{title}: ")), "{path} has another title");
        for (server, figure) in figures(&sections, title, column) {
            let bar = plot.lines().find(|line| line.contains(&format!(">{server}</text>")));
            let bar = bar.unwrap_or_else(|| panic!("{path} has no bar of {server}"));
            let (bar, _) = bar.rsplit_once("</text>").expect("a label");
            let shown = bar.rsplit('>').next().unwrap_or_default().replace(',', "");
            let (shown_figure, step) = (shown.parse::<f64>().expect("a number"), step(&shown));
            // Both are rounded from the same median.
            assert!(
                (shown_figure - figure).abs() <= step,
                "{path}, {server}: {shown}, not {figure}"
            );
        }
    }
}

/// Three runs of a server: their CPU time in µs for an operation.
fn runs(test: &str, server: &str, cpu: [f64; 3]) -> String {
    let run = |(round, cpu): (usize, &f64)| {
        format!(
            r#"{{"test":"{test}","server":"{server}","round":{round},"load":1,"server_cpu_us_per_op":{cpu},"#
        ) + r#""server_sleeps_per_op":0.25,"errors":0,"lost":0}"#
            + "\n"
    };
    cpu.iter().enumerate().map(run).collect()
}

#[test]
fn report_says_which_goals_are_below_the_floor() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).unwrap();
    let results = folder.join("results.jsonl");
    let lines = [
        "{\"machine\":{},\"command\":\"\"}\n".to_owned(),
        runs("upgrade", "eio", [77.0, 78.1, 75.9]),
        runs("upgrade", "engineioxide", [100.0; 3]),
        runs("upgrade", "engine-floor", [70.0, 71.0, 69.0]),
        runs("polling-1", "eio", [77.0; 3]),
        runs("polling-1", "engineioxide", [100.0; 3]),
        runs("polling-1", "engine-floor", [58.0, 70.0, 63.0]),
        runs("connect-ws", "eio", [66.0; 3]),
        runs("connect-ws", "engineioxide", [100.0; 3]),
        runs("connect-ws", "engine-floor", [50.0; 3]),
        runs("connect-polling", "eio", [75.0; 3]),
        runs("connect-polling", "engineioxide", [100.0; 3]),
    ];
    fs::write(&results, lines.concat()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare/run.py");
    let mut report = Command::new("python3");
    report.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg("--write");
    let done = report.arg("--results").arg(&results).arg("--output").arg(&folder).output();
    let done = done.expect("python3");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let text = fs::read_to_string(folder.join("BENCHMARKS.md")).unwrap();
    let goals = rows(block(&text, "goals"));
    let judged = |goal: &str| {
        let found = goals.iter().find(|row| format!("{}: {}", row[0], row[1]) == goal);
        found.unwrap_or_else(|| panic!("no goal {goal}"))[3..].join(" | ").replace("**", "")
    };
    assert_eq!(
        judged("Handshake, probe, upgrade, one echo, close, 128 at a time: 0.65 x engineioxide"),
        "0.77 [0.76-0.78] | 0.70 [0.69-0.71] | 1.10 [1.10-1.10] | not met: below the floor"
    );
    assert_eq!(
        judged("Polling round trip (POST and GET), 64 sessions, 32 B: 0.60 x engineioxide"),
        "0.77 [0.77-0.77] | 0.63 [0.58-0.70] | 1.22 [1.10-1.33] | not met: at the floor"
    );
    assert_eq!(
        judged("WebSocket session opened and closed, 32 at a time: 0.65 x engineioxide"),
        "0.66 [0.66-0.66] | 0.50 [0.50-0.50] | 1.32 [1.32-1.32] | not met"
    );
    assert_eq!(
        judged("Polling session opened and closed, 32 at a time: 0.75 x engineioxide"),
        "0.75 [0.75-0.75] | - | - | met"
    );
    for (title, section) in sections(&text) {
        let header = section.lines().find(|line| line.starts_with('|')).expect("a table");
        let columns: Vec<_> = header.trim_matches('|').split('|').map(plain).collect();
        let column = columns.iter().position(|name| *name == "sleeps per op.");
        let column = column.unwrap_or_else(|| panic!("{title} shows no sleeps"));
        for row in rows(section) {
            assert_eq!(row[column], "0.250", "{title}, {}", row[0]);
        }
    }
}

/// The value of the last digit.
fn step(shown: &str) -> f64 {
    let decimals = shown.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    0.1_f64.powi(i32::try_from(decimals).unwrap_or(0))
}
