//! Mappings of subjects: the subjects that publications get instead of their own.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use crate::base::subject::is_valid_pattern;
use crate::base::subject_transform::{Transform, TransformError, with_placeholders};

/// A mapping of the subjects that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubjectMapping {
    /// The pattern.
    pub source: String,
    /// The subjects in place of one that matches.
    pub destinations: Vec<MappingDestination>,
}

/// A subject in place of a mapped one, for a part of the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MappingDestination {
    /// The subject, perhaps with functions such as `{{wildcard(1)}}`.
    pub subject: String,
    /// The part of the messages, in percent. The rest keeps its subject; it is lost if the source
    /// is a destination, too.
    pub weight: u8,
    /// The cluster whose servers use this destination instead of those without a cluster.
    pub cluster: Option<String>,
}

/// A destination and its part of the messages, each of which draws a number below 100.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    /// The destination.
    pub(crate) destination: Cow<'a, str>,
    /// It is for the numbers below this one, and not below that of the share before.
    pub(crate) end: u8,
}

/// A mapping that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MappingError {
    /// The source is no subject.
    InvalidSource,
    /// A destination stands there twice.
    DestinationTwice(String),
    /// A weight is above 100.
    Weight,
    /// The weights for one cluster are above 100.
    TotalWeight,
    /// Source and destination do not fit together.
    Transform(TransformError),
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSource => f.write_str("invalid subject"),
            Self::DestinationTwice(subject) => write!(f, "duplicate entry for {subject:?}"),
            Self::Weight => f.write_str("individual weights need to be <= 100"),
            Self::TotalWeight => f.write_str("total weight needs to be <= 100"),
            Self::Transform(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MappingError {}

impl SubjectMapping {
    /// A mapping without destinations, which changes nothing.
    #[must_use]
    pub fn new(source: impl Into<String>) -> SubjectMapping {
        SubjectMapping { source: source.into(), destinations: Vec::new() }
    }

    /// The same with one more destination.
    #[must_use]
    pub fn with(mut self, destination: MappingDestination) -> SubjectMapping {
        self.destinations.push(destination);
        self
    }

    /// Checks source and destinations.
    ///
    /// nats: server/accounts.go `AddWeightedMappings`
    pub(crate) fn check(&self) -> Result<(), MappingError> {
        if !is_valid_pattern(self.source.as_bytes()) {
            return Err(MappingError::InvalidSource);
        }
        let mut seen = HashSet::new();
        let mut weights = BTreeMap::<_, u32>::new();
        for MappingDestination { subject, weight, cluster } in &self.destinations {
            if !seen.insert(subject) {
                return Err(MappingError::DestinationTwice(subject.clone()));
            }
            if *weight > 100 {
                return Err(MappingError::Weight);
            }
            let total = weights.entry(cluster).or_default();
            *total += u32::from(*weight);
            if *total > 100 {
                return Err(MappingError::TotalWeight);
            }
            Transform::new(&self.source, subject).map_err(MappingError::Transform)?;
        }
        // A source that looks like a function cannot stay as it is.
        for share in self.clusters().into_iter().flat_map(|cluster| self.shares(cluster)) {
            Transform::new(&self.source, &share.destination).map_err(MappingError::Transform)?;
        }
        Ok(())
    }

    /// The clusters that have destinations of their own; first, all others.
    pub(crate) fn clusters(&self) -> BTreeSet<Option<&str>> {
        let named = self.destinations.iter().map(|one| one.cluster.as_deref());
        named.chain([None]).collect()
    }

    /// The shares for servers of one of these clusters, the smallest weight first. What is missing
    /// to 100 percent keeps its subject, unless the source is a destination: then it is lost.
    ///
    /// nats: server/accounts.go `AddWeightedMappings`
    pub(crate) fn shares(&self, cluster: Option<&str>) -> Vec<Share<'_>> {
        let of_cluster = self.destinations.iter().filter(|one| one.cluster.as_deref() == cluster);
        let mut parts: Vec<(Cow<'_, str>, u8)> =
            of_cluster.map(|one| (one.subject.as_str().into(), one.weight)).collect();
        let rest = 100 - parts.iter().map(|(_, weight)| weight).sum::<u8>();
        if rest > 0 && !self.destinations.iter().any(|one| one.subject == self.source) {
            parts.push((with_placeholders(&self.source).into(), rest));
        }
        parts.sort_by_key(|(_, weight)| *weight);
        let mut end = 0;
        let share = |(destination, weight)| {
            end += weight;
            Share { destination, end }
        };
        parts.into_iter().map(share).collect()
    }
}

impl MappingDestination {
    /// A destination for all messages, in all clusters.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> MappingDestination {
        MappingDestination { subject: subject.into(), weight: 100, cluster: None }
    }

    /// The same for this part of the messages, in percent.
    #[must_use]
    pub fn weight(self, weight: u8) -> MappingDestination {
        MappingDestination { weight, ..self }
    }

    /// The same for servers of this cluster.
    #[must_use]
    pub fn in_cluster(self, cluster: impl Into<String>) -> MappingDestination {
        MappingDestination { cluster: Some(cluster.into()), ..self }
    }
}
