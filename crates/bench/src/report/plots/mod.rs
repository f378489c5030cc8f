//! The plots, as SVG elements for the page. Each is drawn for a given width, in units of about a pixel, and
//! its caller shows the one that fits the screen. Colour never stands alone: there is always a marker, a
//! pattern or a label, too.

mod axis;
mod canvas;
mod coordinate;
mod distribution;
mod forks;
mod look;
mod memory;
mod timeline;

pub(super) use distribution::distribution;
pub(super) use forks::{fork_faults, fork_time};
pub(super) use look::{
    FIRST_ANSWER, FORK_CALL, PAGE_FAULTS, line_swatch, of_strategy, patterns, step_swatch,
};
pub(super) use memory::memory;
pub(super) use timeline::timeline;
