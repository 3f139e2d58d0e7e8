//! Patterns with wildcards, as a trie over tokens.
//!
//! A pattern is kept as a *leaf*, which hangs at the first token that it shares with no other
//! pattern; only tokens shared by several patterns become a *branch*. So a million subscriptions
//! `svc.<id>.*` are a million leaves below one branch, and no text is copied: the entry of a leaf
//! holds the rest of its pattern.
//!
//! ```text
//! svc.*.up  svc.>  svc.a.b.*  svc.a.c.>      root ─svc─ branch ─*─ leaf svc.*.up
//!                                                         ├──>─ leaf svc.>
//!                                                         └──a─ branch ─b─ leaf svc.a.b.*
//!                                                                 └──c─ leaf svc.a.c.>
//! ```
//!
//! Literal children of all branches are in one table keyed by (branch, token), so that the number
//! of children does not matter. Nothing recurses: subjects may have any number of tokens.
//!
//! Invariants: a branch other than the root has at least two children, or one that is a branch;
//! `leaves` has no gap; an `offset` is the start of the token by which a leaf hangs at its parent,
//! and one past the end of the subject for `here`.

use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::base::subject::{has_empty_token, matches_from, split_first};
use crate::base::table::Table;
use crate::sublist::Entry;

/// The root of all patterns; it has no token.
const ROOT: u32 = 0;

/// An arena above this capacity shrinks when an eighth of it is used.
const SHRINK_ABOVE: usize = 64;

/// The heads of all subjects with wildcards.
#[derive(Debug)]
pub(super) struct Trie<E> {
    /// Arena; those named in `free` are unused.
    branches: Vec<Branch>,
    free: Vec<u32>,
    leaves: Vec<Leaf<E>>,
    /// Children by (parent, literal token).
    edges: Table<Child>,
    /// Keys the hash of `edges`.
    random: RandomState,
}

/// Patterns that agree up to here. 40 bytes.
#[derive(Debug)]
struct Branch {
    /// Literal token by which it hangs at its parent; empty for a star and for the root.
    token: Token,
    parent: u32,
    /// The pattern that ends here.
    here: Child,
    /// The pattern that ends in `>` next, the full wildcard.
    fwc: Child,
    /// The child by the token `*`, the partial wildcard.
    pwc: Child,
    /// The number of children by literal tokens.
    literals: u32,
    /// All literal children xored: this is the only child if there is one, without a list of them.
    literals_xor: u32,
}

/// One pattern.
#[derive(Debug)]
struct Leaf<E> {
    head: E,
    parent: u32,
    offset: u32,
}

/// A leaf (top bit set), a branch, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Child(u32);

impl Child {
    const NONE: Self = Self(u32::MAX);
    const LEAF: u32 = 1 << 31;

    fn leaf(at: u32) -> Self {
        Self(at | Self::LEAF)
    }

    fn kind(self) -> ChildKind {
        match self {
            Self::NONE => ChildKind::None,
            Self(at) if at & Self::LEAF != 0 => ChildKind::Leaf((at & !Self::LEAF) as usize),
            Self(at) => ChildKind::Branch(at),
        }
    }
}

enum ChildKind {
    None,
    Leaf(usize),
    Branch(u32),
}

/// A token of its own: inline up to 14 bytes. 16 bytes.
#[derive(Debug)]
enum Token {
    Short(u8, [u8; 14]),
    // Two boxes make it one word here; long tokens that patterns share are rare.
    Long(Box<Box<[u8]>>),
}

impl Token {
    fn new(token: &[u8]) -> Self {
        let mut short = [0; 14];
        match short.get_mut(..token.len()) {
            Some(start) => {
                start.copy_from_slice(token);
                Self::Short(token.len() as u8, short)
            }
            None => Self::Long(Box::new(token.into())),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// A branch still to be visited, and the rest of the subject there.
type Pending<'a> = (u32, Option<&'a [u8]>);

/// The link between a child and its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge<'a> {
    Here,
    Fwc,
    Pwc,
    Literal(&'a [u8]),
}

impl<'a> Edge<'a> {
    /// The edge that `pattern` takes at `offset`, and the offset behind its token.
    fn at(pattern: &'a [u8], offset: usize) -> (Self, usize) {
        let Some(rest) = pattern.get(offset..) else { return (Self::Here, offset) };
        let (token, _) = split_first(rest);
        let edge = match token {
            b">" => Self::Fwc,
            b"*" => Self::Pwc,
            _ => Self::Literal(token),
        };
        (edge, offset + token.len() + 1)
    }
}

impl<E: Entry> Trie<E> {
    pub(super) fn new() -> Self {
        Self {
            branches: vec![Branch::new(ROOT, b"")],
            free: Vec::new(),
            leaves: Vec::new(),
            edges: Table::new(),
            random: RandomState::default(),
        }
    }

    /// All heads, in no order.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn heads(&self) -> impl Iterator<Item = &E> {
        self.leaves.iter().map(|leaf| &leaf.head)
    }

    /// Adds `entry` as the head of its pattern, or gives the head that is there.
    pub(super) fn add(&mut self, entry: &E) -> Option<&E> {
        let pattern = entry.subject();
        let (mut at, mut offset) = (ROOT, 0);
        let mut other = None;
        loop {
            let (edge, after) = Edge::at(pattern, offset);
            match self.child(at, edge).kind() {
                ChildKind::None => {
                    // Doubling would waste half of the memory; an eighth still amortises.
                    if self.leaves.len() == self.leaves.capacity() {
                        self.leaves.reserve_exact(self.leaves.len() / 8 + 4);
                    }
                    let leaf = Child::leaf(self.leaves.len() as u32);
                    let offset = offset as u32;
                    self.leaves.push(Leaf { head: entry.clone(), parent: at, offset });
                    self.link(at, edge, leaf);
                    return None;
                }
                ChildKind::Branch(branch) => (at, offset) = (branch, after),
                // Comparing once only keeps this linear, however many tokens are shared.
                ChildKind::Leaf(leaf) => {
                    if other != Some(leaf) && self.leaves[leaf].head.subject() == pattern {
                        return Some(&self.leaves[leaf].head);
                    }
                    other = Some(leaf);
                    (at, offset) = (self.split(leaf), after);
                }
            }
        }
    }

    /// The number of patterns.
    pub(super) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// The head at a position below [`len`](Self::len). Removing a pattern moves the last one to
    /// its place; apart from that, positions stay.
    pub(super) fn head_at(&self, at: usize) -> &E {
        &self.leaves[at].head
    }

    /// The head of exactly this pattern.
    pub(super) fn head(&self, pattern: &[u8]) -> Option<&E> {
        self.find(pattern).map(|leaf| &self.leaves[leaf].head)
    }

    /// See [`head`](Self::head).
    pub(super) fn head_mut(&mut self, pattern: &[u8]) -> Option<&mut E> {
        let leaf = self.find(pattern)?;
        Some(&mut self.leaves[leaf].head)
    }

    /// Removes a pattern, and every branch needed by it alone.
    pub(super) fn remove(&mut self, pattern: &[u8]) {
        let Some(leaf) = self.find(pattern) else { return };
        let mut branch = self.leaves[leaf].parent;
        self.unlink_leaf(leaf);
        self.fill_gap(leaf);
        while branch != ROOT
            && let ChildKind::Leaf(leaf) = self.branches[branch as usize].only_child().kind()
        {
            branch = self.hoist(leaf);
        }
        self.shrink();
    }

    /// Visits the head of every pattern that matches, until `visit` stops it. Counts the branches
    /// on its way: patterns of stars and tokens can make them twice as many with each token.
    pub(super) fn walk(
        &self,
        subject: &[u8],
        branch_count: &mut usize,
        mut visit: impl FnMut(&E) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.leaves.is_empty() || has_empty_token(subject) {
            return ControlFlow::Continue(());
        }
        let mut pending: SmallVec<[Pending<'_>; 16]> = SmallVec::new();
        pending.push((ROOT, Some(subject)));
        while let Some((at, rest)) = pending.pop() {
            *branch_count += 1;
            let branch = &self.branches[at as usize];
            let Some(rest) = rest else {
                if let ChildKind::Leaf(leaf) = branch.here.kind() {
                    visit(&self.leaves[leaf].head)?;
                }
                continue;
            };
            if let ChildKind::Leaf(leaf) = branch.fwc.kind() {
                visit(&self.leaves[leaf].head)?;
            }
            let (token, rest) = split_first(rest);
            let literal = match branch.literals {
                0 => Child::NONE,
                _ => self.child(at, Edge::Literal(token)),
            };
            for (child, len) in [(literal, token.len()), (branch.pwc, 1)] {
                match child.kind() {
                    ChildKind::None => {}
                    ChildKind::Branch(child) => pending.push((child, rest)),
                    ChildKind::Leaf(leaf) => {
                        let Leaf { head, offset, .. } = &self.leaves[leaf];
                        let wanted = head.subject().get(*offset as usize + len + 1..);
                        if matches_from(wanted, rest) {
                            visit(head)?;
                        }
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The leaf of exactly this pattern.
    fn find(&self, pattern: &[u8]) -> Option<usize> {
        let (mut at, mut offset) = (ROOT, 0);
        loop {
            let (edge, after) = Edge::at(pattern, offset);
            match self.child(at, edge).kind() {
                ChildKind::None => return None,
                ChildKind::Branch(branch) => (at, offset) = (branch, after),
                ChildKind::Leaf(leaf) => {
                    return (self.leaves[leaf].head.subject() == pattern).then_some(leaf);
                }
            }
        }
    }

    /// Puts a branch in the place of a leaf, which then hangs below it by its next token.
    fn split(&mut self, leaf: usize) -> u32 {
        let Leaf { head, parent, offset } = &self.leaves[leaf];
        let (head, parent) = (head.clone(), *parent);
        let (edge, after) = Edge::at(head.subject(), *offset as usize);
        let token = if let Edge::Literal(token) = edge { token } else { b"" };
        let branch = Branch::new(parent, token);
        let at = match self.free.pop() {
            Some(at) => {
                self.branches[at as usize] = branch;
                at
            }
            None => {
                if self.branches.len() == self.branches.capacity() {
                    self.branches.reserve_exact(self.branches.len() / 8 + 4);
                }
                self.branches.push(branch);
                (self.branches.len() - 1) as u32
            }
        };
        self.relink(parent, edge, Child::leaf(leaf as u32), Child(at));
        let below = &mut self.leaves[leaf];
        (below.parent, below.offset) = (at, after as u32);
        self.link(at, Edge::at(head.subject(), after).0, Child::leaf(leaf as u32));
        at
    }

    /// Undoes [`split`](Self::split): puts the only leaf of a branch in the branch's place, and
    /// gives the parent.
    fn hoist(&mut self, leaf: usize) -> u32 {
        let at = self.leaves[leaf].parent;
        self.unlink_leaf(leaf);
        let Leaf { head, offset, .. } = &self.leaves[leaf];
        let head = head.clone();
        let before = &head.subject()[..*offset as usize - 1];
        let offset = memchr::memrchr(b'.', before).map_or(0, |dot| dot + 1);
        let parent = self.branches[at as usize].parent;
        self.relink(
            parent,
            Edge::at(head.subject(), offset).0,
            Child(at),
            Child::leaf(leaf as u32),
        );
        let above = &mut self.leaves[leaf];
        (above.parent, above.offset) = (parent, offset as u32);
        self.branches[at as usize].token = Token::new(b"");
        self.free.push(at);
        parent
    }

    /// Moves the last leaf to the place of an unlinked one, and drops that one.
    fn fill_gap(&mut self, gap: usize) {
        let last = self.leaves.len() - 1;
        if gap != last {
            let Leaf { head, parent, offset } = &self.leaves[last];
            let (head, parent, offset) = (head.clone(), *parent, *offset as usize);
            let (from, to) = (Child::leaf(last as u32), Child::leaf(gap as u32));
            self.relink(parent, Edge::at(head.subject(), offset).0, from, to);
        }
        self.leaves.swap_remove(gap);
    }

    /// The child of a branch by an edge.
    #[inline]
    fn child(&self, at: u32, edge: Edge<'_>) -> Child {
        let branch = &self.branches[at as usize];
        match edge {
            Edge::Here => branch.here,
            Edge::Fwc => branch.fwc,
            Edge::Pwc => branch.pwc,
            Edge::Literal(token) => {
                let is_it = |child: &Child| self.hangs_by(*child) == (at, token);
                let hash = hash(&self.random, at, token);
                self.edges.find(hash, is_it).copied().unwrap_or(Child::NONE)
            }
        }
    }

    /// Adds a child where there is none.
    fn link(&mut self, at: u32, edge: Edge<'_>, child: Child) {
        let branch = &mut self.branches[at as usize];
        match edge {
            Edge::Here => branch.here = child,
            Edge::Fwc => branch.fwc = child,
            Edge::Pwc => branch.pwc = child,
            Edge::Literal(token) => {
                branch.literals += 1;
                branch.literals_xor ^= child.0;
                let Self { branches, leaves, edges, random, .. } = self;
                edges.insert(hash(random, at, token), child, |&child| {
                    let (at, token) = hangs_by(branches, leaves, child);
                    hash(random, at, token)
                });
            }
        }
    }

    /// Replaces a child by another one with the same edge.
    fn relink(&mut self, at: u32, edge: Edge<'_>, from: Child, to: Child) {
        let branch = &mut self.branches[at as usize];
        match edge {
            Edge::Here => branch.here = to,
            Edge::Fwc => branch.fwc = to,
            Edge::Pwc => branch.pwc = to,
            Edge::Literal(token) => {
                branch.literals_xor ^= from.0 ^ to.0;
                let hash = hash(&self.random, at, token);
                if let Some(child) = self.edges.find_mut(hash, |child| *child == from) {
                    *child = to;
                }
            }
        }
    }

    /// Takes a leaf off its parent; it stays in the arena.
    fn unlink_leaf(&mut self, leaf: usize) {
        let child = Child::leaf(leaf as u32);
        let Self { branches, leaves, edges, random, .. } = self;
        let Leaf { head, parent, offset } = &leaves[leaf];
        let branch = &mut branches[*parent as usize];
        match Edge::at(head.subject(), *offset as usize).0 {
            Edge::Here => branch.here = Child::NONE,
            Edge::Fwc => branch.fwc = Child::NONE,
            Edge::Pwc => branch.pwc = Child::NONE,
            Edge::Literal(token) => {
                branch.literals -= 1;
                branch.literals_xor ^= child.0;
                let hash_of = |&child: &Child| {
                    let (at, token) = hangs_by(branches, leaves, child);
                    hash(random, at, token)
                };
                edges.remove(hash(random, *parent, token), |other| *other == child, hash_of);
            }
        }
    }

    /// The key of a literal child in `edges`.
    fn hangs_by(&self, child: Child) -> (u32, &[u8]) {
        hangs_by(&self.branches, &self.leaves, child)
    }

    /// Gives memory back after many removals.
    fn shrink(&mut self) {
        let Self { branches, free, leaves, .. } = self;
        if leaves.capacity() > SHRINK_ABOVE && leaves.len() < leaves.capacity() / 8 {
            leaves.shrink_to(leaves.len() * 2);
        }
        if free.len() + 1 == branches.len() {
            *free = Vec::new();
            branches.truncate(1);
            branches.shrink_to_fit();
        }
    }
}

impl Branch {
    fn new(parent: u32, token: &[u8]) -> Self {
        Self {
            token: Token::new(token),
            parent,
            here: Child::NONE,
            fwc: Child::NONE,
            pwc: Child::NONE,
            literals: 0,
            literals_xor: 0,
        }
    }

    /// The child of a branch that has one only.
    fn only_child(&self) -> Child {
        let literal = if self.literals == 1 { Child(self.literals_xor) } else { Child::NONE };
        let mut children = [self.here, self.fwc, self.pwc, literal]
            .into_iter()
            .filter(|&child| child != Child::NONE);
        match (self.literals, children.next(), children.next()) {
            (0 | 1, Some(child), None) => child,
            _ => Child::NONE,
        }
    }
}

/// The key of a literal child in the table of edges.
#[inline]
fn hangs_by<'a, E: Entry>(
    branches: &'a [Branch],
    leaves: &'a [Leaf<E>],
    child: Child,
) -> (u32, &'a [u8]) {
    match child.kind() {
        ChildKind::Leaf(leaf) => {
            let Leaf { head, parent, offset } = &leaves[leaf];
            (*parent, split_first(&head.subject()[*offset as usize..]).0)
        }
        ChildKind::Branch(branch) => {
            let branch = &branches[branch as usize];
            (branch.parent, branch.token.bytes())
        }
        ChildKind::None => (ROOT, b""),
    }
}

#[inline]
fn hash(random: &RandomState, at: u32, token: &[u8]) -> u64 {
    let mut hasher = random.build_hasher();
    hasher.write_u32(at);
    hasher.write(token);
    hasher.finish()
}

#[cfg(any(test, feature = "fuzz"))]
impl<E: Entry> Trie<E> {
    /// Asserts that no trace of former patterns is left.
    pub(super) fn assert_bare(&self) {
        assert_eq!((self.branches.len(), self.leaves.len(), self.edges.len()), (1, 0, 0));
        assert_eq!((self.branches[0].literals, self.branches[0].literals_xor), (0, 0));
    }
}
