//! Fuzz body of configuration files.

use std::path::Path;

use crate::config::conf::{Sources, load};
use crate::config::options::Options;
use crate::mappings::Mappings;

/// Any bytes either load or are refused with positions inside the text, with the same result twice.
pub fn fuzz_conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = u32::try_from(text.matches('\n').count() + 1).expect("a text of less than 4 GiB");
    let run = || {
        let sources = Sources {
            file: &|_| Ok(text.clone().into_owned()),
            environment: &|name| name.chars().next().map(|first| format!("[$A, {first}]")),
        };
        let mut options = Options::default();
        load(Path::new("c.conf"), sources, &mut options).map(|problems| (options, problems))
    };
    let result = run();
    assert_eq!(result, run());
    let problems = match &result {
        Ok((options, problems)) => {
            assert_eq!(options.config_digest.as_ref().map(String::len), Some("sha256:".len() + 64));
            for (_, mappings) in options.mappings_by_account() {
                assert_eq!(Mappings::new(mappings, Some("C")).is_some(), !mappings.is_empty());
            }
            problems
        }
        Err(error) => &error.problems,
    };
    let positions = problems.iter().filter_map(|problem| problem.position.as_ref());
    for position in positions.filter(|position| &*position.file == "c.conf") {
        assert!((1..=lines).contains(&position.line), "{position}");
    }
}
