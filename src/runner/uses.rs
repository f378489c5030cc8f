//! What the app uses, for those who want details (`-v`): after each change of generations, what is new since the last one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use devhost_terminal::Terminal;
use devhost_watch::{About, Effect, Explained, Observer};

/// How many files a line names.
const NAMED_COUNT_MAX: usize = 20;

type Told = HashMap<PathBuf, (Effect, String)>;

/// What has been told of the app's use of files.
#[derive(Debug, Default)]
pub(super) struct Uses {
    told: Arc<Mutex<Told>>,
}

impl Uses {
    /// Tells what is new, as soon as the watcher has judged it. Paths are shown relative to `root`.
    pub(super) fn tell(&self, observer: &Arc<Observer>, terminal: &Arc<Terminal>, root: PathBuf) {
        let (told, observer, terminal) = (Arc::clone(&self.told), Arc::clone(observer), Arc::clone(terminal));
        tokio::spawn(async move {
            let Ok(explained) = observer.explain(About::Uses).await else { return };
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            for line in news(&mut told, explained, &root) {
                terminal.detail(&line);
            }
        });
    }
}

/// Puts what is new into lines, one for each effect.
fn news(told: &mut Told, Explained { files, left_out }: Explained, root: &Path) -> Vec<String> {
    let mut all: Told = HashMap::new();
    let mut by_effect: Vec<(Effect, Vec<String>)> = Vec::new();
    for file in files {
        let judged = (file.effect, file.why);
        if told.get(&file.path) != Some(&judged) {
            let shown = file.path.strip_prefix(root).unwrap_or(&file.path);
            let named = format!("{} ({})", shown.display(), judged.1);
            match by_effect.iter_mut().find(|(effect, _)| *effect == judged.0) {
                Some((_, names)) => names.push(named),
                None => by_effect.push((judged.0, vec![named])),
            }
        }
        all.insert(file.path, judged);
    }
    *told = all;
    by_effect.sort_by_key(|(effect, _)| *effect);
    let mut lines: Vec<String> = by_effect
        .into_iter()
        .map(|(effect, mut names)| {
            let more = names.len().saturating_sub(NAMED_COUNT_MAX);
            names.truncate(NAMED_COUNT_MAX);
            if more > 0 {
                names.push(format!("{more} more"));
            }
            format!("when these change, {}: {}", effect.in_words(), names.join(", "))
        })
        .collect();
    if left_out > 0 {
        lines.push(format!("the app uses {left_out} files more; ask `devhost doctor --why FILE` about one"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use devhost_watch::Explanation;

    use super::*;

    fn file(path: &str, effect: Effect, why: &str) -> Explanation {
        let path = Path::new("/shop").join(path);
        Explanation { path, exists: true, effect, why: why.into(), notes: Vec::new() }
    }

    #[test]
    fn only_news_is_told() {
        let mut told = Told::new();
        let mut tell = |files, left_out| news(&mut told, Explained { files, left_out }, Path::new("/shop"));
        let css = || file("a.css", Effect::Swap, "served as it is");
        let settings = || file("a.toml", Effect::Restart, "read at start");
        assert_eq!(
            tell(vec![css(), settings()], 0),
            [
                "when these change, the app starts anew: a.toml (read at start)",
                "when these change, the stylesheet is swapped in open pages: a.css (served as it is)",
            ]
        );
        assert!(tell(vec![css(), settings()], 0).is_empty());
        let read = file("a.css", Effect::Restart, "read while serving");
        assert_eq!(
            tell(vec![read, settings()], 7),
            [
                "when these change, the app starts anew: a.css (read while serving)",
                "the app uses 7 files more; ask `devhost doctor --why FILE` about one",
            ]
        );
    }

    #[test]
    fn long_lists_are_counted() {
        let files = (0..25).map(|number| file(&number.to_string(), Effect::Restart, "read at start"));
        let lines = news(&mut Told::new(), Explained { files: files.collect(), left_out: 0 }, Path::new("/"));
        assert!(lines[0].ends_with(", 5 more"), "{lines:?}");
    }
}
