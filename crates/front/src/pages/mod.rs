//! devhost's own pages: what a client gets in place of a response of the app, and the status page.
//!
//! One description of a page ([`Page`]) is rendered as HTML, JSON or plain text, whichever the client asked
//! for. Each kind of page has a file with its constructors. Everything that comes from a compiler, an app or a
//! client is escaped; no page needs anything but itself and the live-reload script.

mod backtrace;
mod bad_answer;
mod build_failed;
mod crash;
mod failure;
mod form;
mod frame;
mod page;
mod panic;
mod refused;
mod render;
mod section;

mod status;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use form::{Form, wanted_form};
pub(crate) use frame::{CROSS_ORIGIN_RESOURCE_POLICY, POLICY};
pub(crate) use page::Page;
pub(crate) use status::render_status;
