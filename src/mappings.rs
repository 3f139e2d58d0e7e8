//! `Mappings`: the mappings of an account, compiled.
//!
//! Of the mappings whose source matches a subject, the [most specific](PatternMap) one counts; of
//! two with the same source, the later one. A mapped subject is not mapped again. What a mapping
//! does not decide alone, chance does.
//! nats: server/accounts.go `selectMappedSubject`
//!
//! nats-differs: there, the first one of a list in random order counts.

use std::mem;
use std::sync::Arc;

use fastrand::Rng;

use crate::base::pattern_map::PatternMap;
use crate::base::subject_transform::Transform;
use crate::config::options::{Share, SubjectMapping};

/// The mappings of an account.
#[derive(Debug)]
pub struct Mappings(PatternMap<Arc<Mapping>>);

/// A mapping: the transforms among which chance decides, each with the [end](Share::end) of its
/// share.
#[derive(Debug)]
pub struct Mapping(Box<[(Transform, u8)]>);

impl Mappings {
    /// The mappings as a server of this cluster applies them; none if there are none. They have
    /// been [checked](crate::config::options::Options::check).
    pub fn new(mappings: &[SubjectMapping], cluster: Option<&str>) -> Option<Mappings> {
        let mut map = PatternMap::default();
        for mapping in mappings {
            map.insert(mapping.source.as_bytes(), Arc::new(Mapping::new(mapping, cluster)));
        }
        (!mappings.is_empty()).then_some(Mappings(map))
    }

    /// The mapping for a published subject, if there is one.
    pub fn find(&self, subject: &[u8]) -> Option<&Arc<Mapping>> {
        self.0.find(subject)
    }
}

impl Mapping {
    fn new(mapping: &SubjectMapping, cluster: Option<&str>) -> Mapping {
        let cluster = Some(cluster).filter(|cluster| mapping.clusters().contains(cluster));
        let mut start = 0;
        let mut shares = mapping.shares(cluster.unwrap_or_default());
        shares.retain(|share| mem::replace(&mut start, share.end) < share.end);
        let transform = |Share { destination, end }: Share<'_>| {
            let transform = Transform::new(&mapping.source, &destination).expect("it is checked");
            (transform, end)
        };
        Mapping(shares.into_iter().map(transform).collect())
    }

    /// True if a subject always becomes the same one.
    pub fn is_certain(&self) -> bool {
        matches!(&*self.0, [(transform, 100)] if !transform.is_random())
    }

    /// Appends the subject in place of `subject`, which matches the source; nothing if the message
    /// is lost.
    pub fn apply(&self, subject: &[u8], random: &mut Rng, out: &mut Vec<u8>) {
        let point = random.u8(..100);
        if let Some((transform, _)) = self.0.iter().find(|(_, end)| point < *end) {
            transform.apply(subject, random, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::MappingDestination;

    /// The subjects that 1,000 messages get, with their numbers.
    fn mapped(
        mapping: &SubjectMapping,
        cluster: Option<&str>,
        subject: &str,
    ) -> Vec<(String, u32)> {
        mapping.check().unwrap();
        let mappings = Mappings::new(std::slice::from_ref(mapping), cluster).unwrap();
        let mapping = mappings.find(subject.as_bytes()).unwrap();
        let mut random = Rng::with_seed(1);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..1000 {
            let mut out = Vec::new();
            mapping.apply(subject.as_bytes(), &mut random, &mut out);
            *counts.entry(String::from_utf8(out).unwrap()).or_default() += 1;
        }
        assert!(counts.len() == 1 || !mapping.is_certain());
        counts.into_iter().collect()
    }

    fn subjects(mapping: &SubjectMapping, cluster: Option<&str>, subject: &str) -> Vec<String> {
        mapped(mapping, cluster, subject).into_iter().map(|(subject, _)| subject).collect()
    }

    fn to(subject: &str, weight: u8) -> MappingDestination {
        MappingDestination::new(subject).weight(weight)
    }

    #[test]
    fn messages_are_shared_by_weight() {
        let mapping = SubjectMapping::new("f").with(to("a", 25)).with(to("b", 60));
        let counts = mapped(&mapping, None, "f");
        let parts: Vec<&str> = counts.iter().map(|(subject, _)| subject.as_str()).collect();
        assert_eq!(parts, ["a", "b", "f"]);
        for ((_, count), expected) in counts.iter().zip([250, 600, 150]) {
            assert!(count.abs_diff(expected) < 60, "{counts:?}");
        }
    }

    #[test]
    fn the_rest_stays_unless_the_source_is_named() {
        let stays = SubjectMapping::new("f.*").with(to("a.$1", 1));
        assert_eq!(subjects(&stays, None, "f.x"), ["a.x", "f.x"]);
        let lost = SubjectMapping::new("f").with(to("a", 25)).with(to("f", 25));
        assert_eq!(subjects(&lost, None, "f"), ["", "a", "f"]);
        // With wildcards the text of the source is no destination.
        let named = SubjectMapping::new("f.*").with(to("a.$1", 25)).with(to("f.$1", 25));
        assert_eq!(subjects(&named, None, "f.x"), ["a.x", "f.x"]);
        let nothing = SubjectMapping::new("f");
        assert_eq!(subjects(&nothing, None, "f"), ["f"]);
        assert_eq!(subjects(&nothing.with(to("a", 0)), None, "f"), ["f"]);
    }

    #[test]
    fn destinations_of_a_cluster_are_for_its_servers() {
        let mapping = SubjectMapping::new("f").with(to("a", 100));
        let mapping = mapping.with(to("b", 100).in_cluster("B"));
        assert_eq!(subjects(&mapping, None, "f"), ["a"]);
        assert_eq!(subjects(&mapping, Some("C"), "f"), ["a"]);
        assert_eq!(subjects(&mapping, Some("B"), "f"), ["b"]);
        let only = SubjectMapping::new("f").with(to("b", 30).in_cluster("B"));
        assert_eq!(subjects(&only, None, "f"), ["f"]);
        assert_eq!(subjects(&only, Some("B"), "f"), ["b", "f"]);
    }

    #[test]
    fn one_transform_without_chance_is_certain() {
        let is_certain = |mapping: &SubjectMapping| {
            Mappings::new(std::slice::from_ref(mapping), None)
                .unwrap()
                .find(b"f")
                .unwrap()
                .is_certain()
        };
        assert!(is_certain(&SubjectMapping::new("f").with(to("a", 100))));
        assert!(is_certain(&SubjectMapping::new("f").with(to("a", 0)).with(to("b", 100))));
        assert!(is_certain(&SubjectMapping::new("f")));
        assert!(!is_certain(&SubjectMapping::new("f").with(to("a", 99))));
        assert!(!is_certain(&SubjectMapping::new("f").with(to("f", 99))));
        assert!(!is_certain(&SubjectMapping::new("f").with(to("a.{{random(2)}}", 100))));
    }
}
