//! What needs a person's approval, and the proof that there is one.

use serde_json::json;
use uuid::Uuid;

use super::decision::{Approved, ApprovedInput, Denial};
use crate::digest::Digest;

/// Names all that a person is asked about: what would be done in its final form, the files that this names, the policies that
/// judged it, and which of them ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form(pub(super) Digest);

/// What may be done once a person has approved it. Only [`super::Chain`] makes one.
#[derive(Debug)]
pub struct Pending<T> {
    pub(super) reason: Denial,
    pub(super) form: Form,
    pub(super) held: T,
}

/// A person's yes to one form. It is worth nothing for any other.
#[derive(Clone, Copy, Debug)]
pub struct Consent {
    /// The question that was answered.
    pub question: Uuid,
    /// What it was about.
    pub form: Form,
}

impl<T> Pending<T> {
    /// Who asks first, and why.
    pub fn reason(&self) -> &Denial {
        &self.reason
    }

    /// What a person's yes has to be about.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The same with more that a person is shown, which no policy judged: a yes is about that too.
    pub fn shown_with(mut self, more: &str) -> Self {
        self.form = Form(Digest::of(json!([self.form.0.to_string(), more]).to_string().as_bytes()));
        self
    }

    /// What was held, where a person's yes was about the whole script that it is a program of.
    pub fn release_as_part(self) -> T {
        self.held
    }

    /// What was held, if the person's yes is about this; else all of it again.
    pub fn release(self, consent: &Consent) -> Result<T, Self> {
        if consent.form == self.form { Ok(self.held) } else { Err(self) }
    }
}

impl Pending<Box<Approved>> {
    /// What would be started.
    pub fn approved(&self) -> &Approved {
        &self.held
    }
}

impl Pending<ApprovedInput> {
    /// The bytes that would be written.
    pub fn bytes(&self) -> &[u8] {
        self.held.bytes()
    }
}
