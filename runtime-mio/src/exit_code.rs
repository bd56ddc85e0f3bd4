//! The exit codes of the `zabkeeper` program: one table, frozen. A number is never given another
//! meaning, and each new kind of ending gets a new number.
//!
//! What talks to an ensemble and what runs a node end for different reasons: 1 and 3 to 5 say one
//! thing of a client and another one of a node. The numbers from 6 on mean the same of both.

/// Done; a node: asked to stop.
pub const DONE: u8 = 0;
/// A client: refused by the tree's state.
pub const REFUSED: u8 = 1;
/// A node, `dev`: any other failure.
pub const OTHER: u8 = 1;
/// The command line, a file, a key or the size of a value is wrong; nothing was done.
pub const USAGE: u8 = 2;
/// A client: certainly not done.
pub const NOT_DONE: u8 = 3;
/// A node: its data is damaged, or was made for another node or ensemble.
pub const DAMAGED: u8 = 3;
/// A client: perhaps done.
pub const UNKNOWN: u8 = 4;
/// A node: its disk failed while it ran.
pub const DISK_FAILED: u8 = 4;
/// A client: it and the node do not understand each other.
pub const INVALID: u8 = 5;
/// A node: halted by the protocol.
pub const HALTED: u8 = 5;
/// What was asked for may be done, and what there is to say of it could not be written.
pub const OUTPUT: u8 = 6;
/// The data directory was written by a newer program.
pub const NEWER_DATA: u8 = 7;
/// The node is not a member of its ensemble any more.
pub const REMOVED: u8 = 8;
/// The data directory is not the one with which this node last took part: it was wiped, swapped, or
/// put back from a copy.
pub const WRONG_DISK: u8 = 9;

/// A row of the table: the number, what it means of a client, and of a node.
pub type Row = (u8, &'static str, &'static str);

/// The table, as `docs/cli.md` and `--help` show it.
pub const TABLE: [Row; 10] = [
    (DONE, "done", "asked to stop"),
    (
        REFUSED,
        "refused by the tree's state: exists already, does not exist, has children",
        "another failure, such as an address in use",
    ),
    (
        USAGE,
        "the command line, a file, a key or the size of a value is wrong; nothing was done",
        "wrong command line or configuration",
    ),
    (
        NOT_DONE,
        "certainly not done: no node reached, no leader with a majority, too busy, no room",
        "the data is damaged, or another node's or ensemble's: do not restart",
    ),
    (
        UNKNOWN,
        "unknown: it was sent and no answer came; it may have been done, or be done later",
        "the disk failed, or is full",
    ),
    (
        INVALID,
        "the node and this client do not understand each other; nothing was done",
        "halted by the protocol: the log says why; do not restart",
    ),
    (OUTPUT, "the result could not be written; what was asked for may be done", "-"),
    (NEWER_DATA, "-", "the data is that of a newer program: do not restart"),
    (REMOVED, "-", "the node was removed from the ensemble: do not restart"),
    (WRONG_DISK, "-", "the wrong disk, or an old copy of it: do not restart"),
];

/// The table for a terminal: the column of clients, or of nodes.
pub fn help(of: fn(&Row) -> &'static str) -> String {
    let rows = TABLE.iter().filter(|row| of(row) != "-");
    let lines: Vec<_> = rows.map(|row| format!("  {}  {}", row.0, of(row))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_document_shows_the_table_of_exit_codes_as_it_is() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let document = std::fs::read_to_string(file).unwrap();
        for (index, row) in TABLE.iter().enumerate() {
            let (code, client, node) = row;
            assert_eq!(usize::from(*code), index);
            let line = format!("| {code} | {client} | {node} |");
            assert!(document.lines().any(|it| it == line), "docs/cli.md lacks: {line}");
        }
    }
}
