//! The grammar of a line of `zabkeeper client`: what was typed is what is stored.
//!
//! Words are separated by blanks and tabs. A word that begins with `"` or `'` goes to the next one
//! of the same, behind which it must end; so it can hold blanks. Nothing else is special: no
//! comments, no backslashes, no variables, no quotes inside a word.

/// Splits a line into its words.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    const BLANK: [char; 2] = [' ', '\t'];
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(BLANK);
        let (word, after) = match rest.chars().next() {
            None => return Ok(words),
            Some(quote @ ('"' | '\'')) => {
                let inside = rest.strip_prefix(quote).unwrap_or_default();
                inside.split_once(quote).ok_or("a quote is not closed")?
            }
            Some(_) => rest.split_at(rest.find(BLANK).unwrap_or(rest.len())),
        };
        if !after.is_empty() && !after.starts_with(BLANK) {
            return Err("a word that begins with a quote ends with it; put the whole word into \
                        quotes of the other kind to have quotes in it");
        }
        words.push(word.to_owned());
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_what_the_words_hold() {
        for word in [
            "#ff8800",
            "#1",
            r#"{"a":1}"#,
            r#"["x","y"]"#,
            r"\d+\.txt",
            r"C:\temp\new",
            "O'Brien",
            r#"5'10""#,
            "a=b#c",
            "$HOME",
            "`ls`",
            "*",
            "~",
            "a\\",
            "grün",
        ] {
            let line = format!("Set key {word}");
            assert_eq!(split(&line), Ok(vec!["Set".into(), "key".into(), word.into()]), "{word}");
        }
    }

    #[test]
    fn a_word_that_begins_with_a_quote_may_hold_blanks() {
        let is = |line, wanted: &[&str]| {
            assert_eq!(split(line), Ok(wanted.iter().map(|w| (*w).to_owned()).collect()));
        };
        is(r#"Set k "two words""#, &["Set", "k", "two words"]);
        is(r#"Set k 'say "hi" # now \n'"#, &["Set", "k", r#"say "hi" # now \n"#]);
        is("Set  k\t'' ", &["Set", "k", ""]);
        is("  ", &[]);
        is(r#""a" 'b'"#, &["a", "b"]);
    }

    #[test]
    fn a_quote_that_cannot_be_understood_is_refused() {
        for line in ["Set k 'open", "Set k \"open", "Set k \"a\"b", "Set k 'it''s'"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
