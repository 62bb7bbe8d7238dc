//! The programs of docs/guide.md.

use eio_monoio::client::{Client, ConnectError};

use crate::support::{Program, ask, block_on, next_text};

#[test]
fn tokens_name_users() {
    let server = Program::start(env!("CARGO_BIN_EXE_guide_accounts"), &["127.0.0.1:0"]);
    block_on(async {
        let ada = Client::connect(&server.url("?token=t1")).await.expect("connects");
        let grace = Client::connect(&server.url("?token=t2")).await.expect("connects");
        assert_eq!(ask(&ada, "hello").await, "ada: hello");
        assert_eq!(next_text(&grace).await, "ada: hello");
        let refused = Client::connect(&server.url("?token=t3")).await;
        assert!(matches!(refused, Err(ConnectError::Failed(_))), "{refused:?}");
    });
    server.terminate();
}
