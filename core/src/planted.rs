//! Planted bugs: known ways to be wrong, which the simulator must find (`docs/simulation.md`).
//!
//! In the text of the core a planted bug is one line of this macro. Without the feature `mutants`
//! it is nothing, or the right value:
//!
//! ```text
//! planted!(cx, SkipTruncation => return Ok(Next::Stay));          does something wrong
//! planted!(cx, LeadThoughBehind: ahead = false);                  gives a name a wrong value
//! planted!(cx, OldCommit, follower.told => follower.ack.commit)   wrong in place of right
//! ```
//!
//! The first word is whatever knows which bug is planted. Wrong code that is longer than a line is
//! in a file `planted.rs` of its wing. A planted bug adds nothing else to the core.

#[cfg(feature = "mutants")]
macro_rules! planted {
    ($at:expr, $name:ident => $wrong:expr) => {
        if $at.plants($crate::mutants::Mutant::$name) {
            $wrong;
        }
    };
    ($at:expr, $name:ident : $value:ident = $wrong:expr) => {
        let $value = if $at.plants($crate::mutants::Mutant::$name) { $wrong } else { $value };
    };
    ($at:expr, $name:ident, $right:expr => $wrong:expr) => {
        if $at.plants($crate::mutants::Mutant::$name) { $wrong } else { $right }
    };
}

#[cfg(not(feature = "mutants"))]
macro_rules! planted {
    ($at:expr, $name:ident => $wrong:expr) => {};
    ($at:expr, $name:ident : $value:ident = $wrong:expr) => {};
    ($at:expr, $name:ident, $right:expr => $wrong:expr) => {
        $right
    };
}
