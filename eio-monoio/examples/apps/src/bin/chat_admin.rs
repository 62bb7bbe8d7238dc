//! Adds rooms and accounts to the database of the `chat`: `chat_admin DATABASE room NAME`, and
//! `chat_admin DATABASE account NAME`, which prints the token of the account. A running chat knows new accounts at once,
//! and new rooms after a restart.

use rusqlite::Connection;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, kind, name] = &arguments[..] else {
        return Err("usage: chat_admin DATABASE room|account NAME".into());
    };
    let database = Connection::open(path)?;
    database.execute_batch(include_str!("../chat.sql"))?;
    match kind.as_str() {
        "room" => drop(database.execute("INSERT INTO rooms VALUES (?1)", [name])?),
        "account" => {
            let insert =
                "INSERT INTO accounts VALUES (lower(hex(randomblob(16))), ?1) RETURNING token";
            let token: String = database.query_row(insert, [name], |row| row.get(0))?;
            println!("{token}");
        }
        _ => return Err("neither a room nor an account".into()),
    }
    Ok(())
}
