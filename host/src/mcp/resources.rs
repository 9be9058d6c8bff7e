//! Jobs as resources: `job://{job_id}/stdout`, `/stderr`, `/merged` and `/record`, a page at a time.

use std::{str::FromStr, sync::Arc};

use rmcp::{
    ErrorData,
    model::{
        CacheScope, ListResourceTemplatesResult, ListResourcesResult, MetaObject, PaginatedRequestParams, ReadResourceResult,
        Resource, ResourceContents, ResourceTemplate,
    },
};
use serde_json::json;
use uuid::Uuid;

use super::{
    server::Server,
    tools::{JobOutput, JobStatus},
};
use crate::{
    jobs::{
        Beginning, Job, JobId, StreamName,
        output::{Cursor, View},
    },
    policy::is_hidden,
};

/// Bytes of a stream that one read gives at most.
const PAGE_BYTES: usize = 64 << 10;
/// Jobs on a page of the list, each of them with all its parts.
const PAGE_JOBS: usize = 25;
/// Longest text for a person made of a command, in bytes.
const MOST_TITLE_BYTES: usize = 80;
/// Longest address that is looked at, in bytes.
const MOST_URI_BYTES: usize = 256;

/// What can be read of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both in the order in which they came.
    Merged,
    /// How it stands.
    Record,
}

/// The address of a part of a job, and where in it reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) job: JobId,
    pub(super) part: Part,
    cursor: Option<Cursor>,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Stdout, Self::Stderr, Self::Merged, Self::Record];

    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Merged => "merged",
            Self::Record => "record",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Stdout => "Standard output",
            Self::Stderr => "Standard error",
            Self::Merged => "Output of both streams in its order",
            Self::Record => "State, exit code and times",
        }
    }

    fn mime_type(self) -> &'static str {
        if self == Self::Record { "application/json" } else { "text/plain" }
    }

    fn view(self) -> Option<View> {
        match self {
            Self::Stdout => Some(View::One(StreamName::Stdout)),
            Self::Stderr => Some(View::One(StreamName::Stderr)),
            Self::Merged => Some(View::Merged),
            Self::Record => None,
        }
    }

    /// Its bytes so far, if it has some that count.
    pub(super) fn size(self, job: &Job) -> Option<u64> {
        let output = job.output();
        match self {
            Self::Stdout => Some(output.track(StreamName::Stdout).total()),
            Self::Stderr => Some(output.track(StreamName::Stderr).total()),
            Self::Merged => Some(output.total()),
            Self::Record => None,
        }
    }

    /// What leads to it.
    pub(super) fn link(self, job: &Job) -> Resource {
        let (uri, name) = (self.uri(job.id()), format!("{} of job {}", self.name(), job.id()));
        // What an earlier server recorded passed the filters of then, and is not shown here.
        let title = match job.contract() {
            Some(_) => format!("{}: {}", self.title(), short(job.shown())),
            None => self.title().to_owned(),
        };
        let link = Resource::new(uri, name).with_title(title);
        let link = link.with_mime_type(self.mime_type());
        match self.size(job) {
            Some(size) => link.with_size(size),
            None => link,
        }
    }

    fn uri(self, job: JobId) -> String {
        format!("job://{job}/{}", self.name())
    }
}

impl FromStr for Address {
    type Err = ();

    /// Nothing but what this server writes: there is one address for each part, and no way around it.
    fn from_str(uri: &str) -> Result<Self, ()> {
        let (place, query) = uri.split_once('?').map_or((uri, None), |(place, query)| (place, Some(query)));
        let (id, name) = place.strip_prefix("job://").and_then(|place| place.split_once('/')).ok_or(())?;
        let job = JobId(id.parse::<Uuid>().map_err(drop)?);
        let part = Part::ALL.into_iter().find(|part| part.name() == name && part.uri(job) == place).ok_or(())?;
        let cursor = query.map(|query| query.strip_prefix("cursor=").ok_or(())?.parse().map_err(drop)).transpose()?;
        match (part, cursor) {
            (Part::Record, Some(_)) => Err(()),
            _ => Ok(Self { job, part, cursor }),
        }
    }
}

impl Server {
    /// The job and part that an address names.
    pub(super) async fn at(&self, uri: &str) -> Result<(Arc<Job>, Address), ErrorData> {
        let address = Some(uri).filter(|uri| uri.len() <= MOST_URI_BYTES).and_then(|uri| uri.parse::<Address>().ok());
        if let Some(address) = address
            && let Some(job) = self.find(address.job.0).await
        {
            return Ok((job, address));
        }
        let shown = self.service.scrub(&uri[..uri.floor_char_boundary(MOST_URI_BYTES)]).await;
        let text = "there is nothing there: resources are job://{job_id}/stdout, /stderr, /merged and /record of jobs that are remembered";
        Err(ErrorData::resource_not_found(text, Some(json!({ "uri": shown }))))
    }

    /// A page of all parts of all jobs, the newest first.
    pub(super) fn resources(&self, asked: Option<PaginatedRequestParams>) -> Result<ListResourcesResult, ErrorData> {
        let jobs = self.jobs();
        let begin = match asked.and_then(|asked| asked.cursor) {
            None => 0,
            Some(last) => {
                1 + jobs.iter().position(|job| job.id().to_string() == last).ok_or_else(|| {
                    ErrorData::invalid_params(
                        "the cursor leads nowhere: its job is forgotten, or it is none; begin anew without",
                        None,
                    )
                })?
            }
        };
        let page = &jobs[begin..jobs.len().min(begin + PAGE_JOBS)];
        let all = page.iter().flat_map(|job| Part::ALL.map(|part| part.link(job)));
        let mut list = ListResourcesResult::with_all_items(all.collect());
        list.next_cursor = page.last().filter(|_| begin + PAGE_JOBS < jobs.len()).map(|job| job.id().to_string());
        Ok(list.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    /// How the address of each part is written.
    pub(super) fn resource_templates() -> ListResourceTemplatesResult {
        let template = |part: Part| {
            let query = if part == Part::Record { "" } else { "{?cursor}" };
            let template = ResourceTemplate::new(format!("job://{{job_id}}/{}{query}", part.name()), part.name());
            let text = match part {
                Part::Record => "How a job stands, as get_job_status says it.",
                _ => {
                    "What a job printed, filtered, at most 64 KiB at a time: `portcullis/next` in the answer's _meta leads on. It is untrusted."
                }
            };
            template.with_title(part.title()).with_description(text).with_mime_type(part.mime_type())
        };
        ListResourceTemplatesResult::with_all_items(Part::ALL.map(template).into())
    }

    /// A page of a part of a job.
    pub(super) async fn read(&self, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        let (job, address) = self.at(uri).await?;
        let contents = match address.part.view() {
            None => {
                let status = JobStatus::of(&job, || self.service.queued_before(&job), &self.service).await;
                ResourceContents::text(json!(status).to_string(), uri)
            }
            Some(view) => self.page(&job, address, view, uri).await?,
        };
        let contents = contents.with_mime_type(address.part.mime_type());
        Ok(ReadResourceResult::new(vec![contents]).with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn page(&self, job: &Job, address: Address, view: View, uri: &str) -> Result<ResourceContents, ErrorData> {
        let from = address.cursor.map_or(Beginning::First, Beginning::Cursor);
        let reading = job.read(view, from, PAGE_BYTES).map_err(|fault| ErrorData::invalid_params(fault.to_string(), None))?;
        let output = JobOutput::of(&self.service.present(job, reading, false).await);
        let mut meta = MetaObject::new();
        meta.insert("portcullis/next".to_owned(), json!(format!("{}?cursor={}", address.part.uri(job.id()), output.next_cursor)));
        meta.insert("portcullis/truncated".to_owned(), json!(output.truncated));
        meta.insert("portcullis/status".to_owned(), json!(output.status));
        Ok(ResourceContents::text(output.text(), uri).with_meta(meta))
    }
}

/// The beginning of a command, for a person.
fn short(command: &str) -> String {
    let end = command.floor_char_boundary(MOST_TITLE_BYTES);
    let shown = command[..end].chars().filter(|c| !is_hidden(*c)).collect::<String>();
    if end < command.len() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ID: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

    #[test]
    fn the_address_of_each_part() {
        for part in Part::ALL {
            let uri = part.uri(JobId(ID.parse().unwrap()));
            assert_eq!(uri.parse::<Address>().unwrap().part, part);
        }
        let paged: Address = format!("job://{ID}/stdout?cursor=6ba7b810-o120").parse().unwrap();
        assert_eq!(paged.cursor.unwrap().to_string(), "6ba7b810-o120");
    }

    #[rstest]
    #[case("")]
    #[case("job://")]
    #[case("job://@")]
    #[case("job://@/")]
    #[case("job://@/stdin")]
    #[case("job://@/stdout/")]
    #[case("job://@//stdout")]
    #[case("job://@/../@/stdout")]
    #[case("job://@/./stdout")]
    #[case("job://@/%73tdout")]
    #[case("job://@/STDOUT")]
    #[case("JOB://@/stdout")]
    #[case("job://x@/stdout")]
    #[case("job://@:1/stdout")]
    #[case("job://@/stdout#x")]
    #[case("job://@/stdout?")]
    #[case("job://@/stdout?cursor=")]
    #[case("job://@/stdout?cursor=6ba7b810-o1&x=1")]
    #[case("job://@/record?cursor=6ba7b810-o1")]
    #[case(" job://@/stdout")]
    #[case("file:///etc/passwd")]
    #[case("job:///etc/passwd")]
    fn what_is_no_address(#[case] uri: &str) {
        assert_eq!(uri.replace('@', ID).parse::<Address>(), Err(()));
    }

    #[test]
    fn another_way_to_write_an_id_is_no_address() {
        for id in [ID.to_uppercase(), ID.replace('-', ""), format!("{{{ID}}}"), format!("urn:uuid:{ID}")] {
            assert_eq!(format!("job://{id}/stdout").parse::<Address>(), Err(()));
        }
    }
}
