//! Between the generated bindings and the traits that authors implement; used by [`export!`](crate::export) only.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::bindings::{command, common, input, output};
use crate::{
    Action, Boundary, CommandPolicy, Filter, InputPolicy, InputVerdict, Job, OutputPolicy, Policy, Request, SettingsError,
    SettingsErrors, StreamKind, Trigger, Verdict, read_settings,
};

/// A policy with a place for its configured self.
pub trait Configured: Policy {
    /// Where the policy lives once it is configured.
    fn slot() -> &'static OnceLock<Self>;
}

/// The exports of the component whose policy is `P`.
pub struct Exports<P>(PhantomData<P>);

/// A filter as the component model holds it: shared, but never entered twice at once.
pub struct ExportedFilter<P: OutputPolicy>(RefCell<P::Filter>);

fn policy<P: Configured>() -> &'static P {
    P::slot().get().expect("the host configures a policy before it asks it anything")
}

impl<P: Configured> common::exports::portcullis::policy::settings::Guest for Exports<P> {
    fn configure(settings: String) -> Result<(), SettingsErrors> {
        let policy = P::configure(read_settings(&settings)?)?;
        P::slot().set(policy).map_err(|_| vec![SettingsError::new("", "configured a second time; load the policy anew instead")])
    }
}

impl<P: Configured + CommandPolicy> command::exports::portcullis::policy::command::Guest for Exports<P> {
    fn evaluate(request: Request) -> Verdict {
        policy::<P>().evaluate(&request)
    }
}

impl<P: Configured + InputPolicy> input::exports::portcullis::policy::input::Guest for Exports<P> {
    fn evaluate(job: Job, pending: Vec<u8>, data: Vec<u8>) -> InputVerdict {
        policy::<P>().evaluate(&job, &pending, &data)
    }
}

impl<P: Configured + OutputPolicy> output::exports::portcullis::policy::output::Guest for Exports<P> {
    type Filter = ExportedFilter<P>;

    fn triggers() -> Vec<Trigger> {
        policy::<P>().triggers()
    }
}

impl<P: Configured + OutputPolicy> output::exports::portcullis::policy::output::GuestFilter for ExportedFilter<P> {
    fn new(job: Option<Job>, stream: StreamKind) -> Self {
        Self(RefCell::new(policy::<P>().filter(job, stream)))
    }

    fn push(&self, before: Vec<u8>, bytes: Vec<u8>, boundary: Boundary) -> Action {
        self.0.borrow_mut().push(&before, &bytes, boundary)
    }
}
