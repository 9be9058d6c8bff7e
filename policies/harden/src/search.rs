//! `rg`, which reads its lists of files to pass over through links, and shows what is no pattern in them.

use portcullis_sdk::{Argument, Edit, Node};

use crate::{command::with_word, repository::Refusal};

/// Keeps what stands in such lists out of its messages.
const FORM: &str = "--no-ignore-messages";
/// Takes that back, wherever it stands.
const CONTRARY: &str = "--ignore-messages";

/// The edit that gives the node with this index, a call of `rg`, its form; none if it has it.
///
/// # Errors
///
/// Where the call asks for these messages, since the last word on it wins.
pub fn hardened(rg: &Node, index: u32) -> Result<Option<Edit>, Refusal> {
    if rg.args.iter().any(|arg| arg.text() == Some(CONTRARY)) {
        return Err(Refusal {
            code: "ignore-messages",
            message: format!(
                "`{CONTRARY}` would show lines of files that a link in the place of `.ignore` leads to; leave it out"
            ),
        });
    }
    let has_form = rg.args.first().and_then(Argument::text) == Some(FORM);
    Ok((!has_form).then(|| Edit::new(index).args(with_word(rg, 0, FORM))))
}
