//! When a file changed, according to the kernel.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The kernel stamps files with a clock that lags by up to a tick.
pub(crate) const CLOCK_LAG_MAX: Duration = Duration::from_millis(20);

pub(crate) fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When the file was last written, moved here or touched. Returns `None` if there is none.
pub(crate) fn last_change(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok().map(|metadata| changed(&metadata))
}

/// When the file was last written, moved or touched.
pub(crate) fn changed(metadata: &Metadata) -> SystemTime {
    modified(metadata).max(status_changed(metadata))
}

/// The file's ctime, which a rename or copy cannot set back.
pub(crate) fn status_changed(metadata: &Metadata) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let rest = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or(0));
    SystemTime::UNIX_EPOCH + seconds + rest
}
