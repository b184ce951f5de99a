//! A persistent radix tree over byte strings.
//!
//! Cloning a tree copies one pointer. A change copies the nodes between the root and the place, and only those that another
//! tree still holds, so that filling a fresh tree copies nothing. Neither look-up nor change depends on how many keys there
//! are, only on how long they are. Nothing recurses: the depth is given by keys, and keys are given by operators.

use super::label::Label;
use std::sync::Arc;

/// How many bytes of a label stand in the node itself, so that most nodes are one allocation and one cache miss.
const INLINE: usize = 22;

/// A map from byte strings to values, made to be asked for all keys that begin a text.
pub(crate) struct RadixTree<V> {
    root: Option<Arc<Node<V>>>,
}

struct Node<V> {
    /// The bytes between the parent and here, or before the root.
    label: Label<INLINE>,
    value: Option<V>,
    /// By the first byte of their labels, ascending.
    children: Vec<(u8, Arc<Node<V>>)>,
}

impl<V> Clone for RadixTree<V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone() }
    }
}

impl<V> Default for RadixTree<V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<V: Clone> Clone for Node<V> {
    fn clone(&self) -> Self {
        Self { label: self.label.clone(), value: self.value.clone(), children: self.children.clone() }
    }
}

impl<V> Node<V> {
    fn leaf(label: &[u8]) -> Arc<Self> {
        Arc::new(Self { label: Label::new(label), value: None, children: Vec::new() })
    }
    fn position(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |(byte, _)| *byte)
    }
    /// The child on the way along a text that goes on behind this node, and what of the text is behind the child.
    fn step<'t>(&self, text: &'t [u8]) -> Option<(&Self, &'t [u8])> {
        let at = self.position(*text.first()?).ok()?;
        let (_, child) = self.children.get(at)?;
        let label = child.label.bytes();
        // The first byte led here. Where many keys differ in one byte, it is the whole label.
        let behind = text.get(label.len()..)?;
        (label.len() == 1 || text.starts_with(label)).then_some((child, behind))
    }
}

// The compiler's own drop would recurse as deep as the tree.
impl<V> Drop for Node<V> {
    fn drop(&mut self) {
        let mut doomed = std::mem::take(&mut self.children);
        while let Some((_, child)) = doomed.pop() {
            if let Some(mut node) = Arc::into_inner(child) {
                doomed.append(&mut node.children);
            }
        }
    }
}

impl<V> RadixTree<V> {
    /// Whether there is no key at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }
    /// The value of exactly this key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let mut node = self.root.as_deref()?;
        let mut rest = key.strip_prefix(node.label.bytes())?;
        while !rest.is_empty() {
            (node, rest) = node.step(rest)?;
        }
        node.value.as_ref()
    }
    /// The values of all keys that begin the text, shortest first.
    pub(crate) fn beginning<'a, 't>(&'a self, text: &'t [u8]) -> Beginning<'a, 't, V> {
        let root = self.root.as_deref().and_then(|root| Some((root, text.strip_prefix(root.label.bytes())?)));
        Beginning { next: root }
    }
}

impl<V: Clone + Default> RadixTree<V> {
    /// The value of the key, made if it is not there, to be changed.
    pub(crate) fn entry(&mut self, key: &[u8]) -> &mut V {
        let mut slot = self.root.get_or_insert_with(|| Node::leaf(key));
        let mut rest = key;
        loop {
            let common = slot.label.common(rest);
            rest = rest.get(common..).unwrap_or_default();
            let node = Arc::make_mut(slot);
            if common < node.label.bytes().len() {
                split(node, common);
            }
            let Some(&first) = rest.first() else { return node.value.get_or_insert_default() };
            let at = node.position(first).unwrap_or_else(|at| {
                node.children.reserve_exact(1);
                node.children.insert(at, (first, Node::leaf(rest)));
                at
            });
            slot = &mut node.children[at].1;
        }
    }
    /// Changes the value of the key, and removes the key if `change` answers that nothing is left of the value.
    pub(crate) fn prune(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> bool) {
        if self.get(key).is_none() {
            return;
        }
        let mut trail = self.take_trail(key);
        let Some(mut leaf) = trail.pop() else { return };
        if leaf.value.as_mut().is_some_and(change) {
            leaf.value = None;
        }
        // Upwards again: what holds nothing goes, and what only leads to one child becomes one with it.
        let mut below = settle(leaf);
        while let Some(mut node) = trail.pop() {
            if let Some(child) = below
                && let Some(&first) = child.label.bytes().first()
                && let Err(at) = node.position(first)
            {
                node.children.reserve_exact(1);
                node.children.insert(at, (first, Arc::new(child)));
            }
            below = settle(node);
        }
        self.root = below.map(Arc::new);
    }
    /// Takes the nodes from the root to the key out of the tree, each without the child that comes after it.
    fn take_trail(&mut self, key: &[u8]) -> Vec<Node<V>> {
        let mut trail = Vec::new();
        let mut next = self.root.take();
        let mut rest = key;
        while let Some(taken) = next.take() {
            let mut node = Arc::unwrap_or_clone(taken);
            rest = rest.get(node.label.bytes().len()..).unwrap_or_default();
            if let Some(&first) = rest.first()
                && let Ok(at) = node.position(first)
            {
                next = Some(node.children.remove(at).1);
            }
            trail.push(node);
        }
        trail
    }
}

/// Cuts a node's label in two; the node keeps the first `at` bytes.
fn split<V>(node: &mut Node<V>, at: usize) {
    let (kept, moved) = node.label.bytes().split_at(at);
    let (kept, moved, first) = (Label::new(kept), Label::new(moved), moved.first().copied().unwrap_or_default());
    let lower = Node { label: moved, value: node.value.take(), children: std::mem::take(&mut node.children) };
    node.label = kept;
    node.children = vec![(first, Arc::new(lower))];
}

/// The node as it should stand: gone if it holds nothing, joined with its only child if it only leads there.
fn settle<V: Clone>(mut node: Node<V>) -> Option<Node<V>> {
    if node.value.is_some() || node.children.len() > 1 {
        return Some(node);
    }
    let (_, child) = node.children.pop()?;
    let mut child = Arc::unwrap_or_clone(child);
    child.label = Label::new(&[node.label.bytes(), child.label.bytes()].concat());
    Some(child)
}

/// The walk along a text; see [`RadixTree::beginning`].
pub(crate) struct Beginning<'a, 't, V> {
    /// A node whose key begins the text, and the text behind it.
    next: Option<(&'a Node<V>, &'t [u8])>,
}

impl<'a, V> Iterator for Beginning<'a, '_, V> {
    type Item = &'a V;
    fn next(&mut self) -> Option<&'a V> {
        while let Some((node, behind)) = self.next {
            self.next = node.step(behind);
            if let Some(value) = &node.value {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
impl<V> RadixTree<V> {
    /// How many nodes there are, and how many of them `other` does not share.
    pub(crate) fn count_against(&self, other: &Self) -> (usize, usize) {
        fn addresses<V>(tree: &RadixTree<V>) -> std::collections::HashSet<*const Node<V>> {
            let mut seen = std::collections::HashSet::new();
            let mut open: Vec<&Arc<Node<V>>> = tree.root.iter().collect();
            while let Some(node) = open.pop() {
                seen.insert(Arc::as_ptr(node));
                open.extend(node.children.iter().map(|(_, child)| child));
            }
            seen
        }
        let (own, others) = (addresses(self), addresses(other));
        (own.len(), own.difference(&others).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        // Three letters and lengths on both sides of INLINE: splits, joins and both kinds of label come up all the time.
        prop_oneof![
            3 => proptest::collection::vec(b'a'..=b'c', 0..6),
            1 => proptest::collection::vec(b'a'..=b'b', 20..30),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_sorted_map_holds(steps in proptest::collection::vec((any::<bool>(), key(), 0..4u8), 0..60), text in key()) {
            let mut tree = RadixTree::<Vec<u8>>::default();
            let mut model = BTreeMap::<Vec<u8>, Vec<u8>>::new();
            let mut earlier = Vec::new();
            for (insert, key, value) in steps {
                earlier.push((tree.clone(), model.clone()));
                if insert {
                    tree.entry(&key).push(value);
                    model.entry(key).or_default().push(value);
                } else {
                    tree.prune(&key, |values| { values.pop(); values.is_empty() });
                    if let Some(values) = model.get_mut(&key) {
                        values.pop();
                        if values.is_empty() { model.remove(&key); }
                    }
                }
            }
            earlier.push((tree, model));
            for (tree, model) in &earlier {
                prop_assert_eq!(tree.is_empty(), model.is_empty());
                for (key, value) in model {
                    prop_assert_eq!(tree.get(key), Some(value));
                }
                let expected: Vec<_> = model.iter().filter(|(key, _)| text.starts_with(key)).map(|(_, value)| value).collect();
                prop_assert_eq!(tree.beginning(&text).collect::<Vec<_>>(), expected);
                prop_assert_eq!(tree.get(&text), model.get(&text));
            }
        }
    }

    #[test]
    fn a_change_copies_only_the_nodes_above_it() {
        let mut tree = RadixTree::<u32>::default();
        for number in 0..10_000_u32 {
            *tree.entry(format!("/route/{number:05}").as_bytes()) = number;
        }
        let before = tree.clone();
        *tree.entry(b"/route/04711") = 0;
        let (nodes, copied) = tree.count_against(&before);
        assert!(nodes >= 10_000 && copied <= 7, "{copied} of {nodes} nodes copied");
        tree.prune(b"/route/00815", |_| true);
        let (_, copied) = tree.count_against(&before);
        assert!(copied <= 14, "{copied} nodes copied by two changes");
    }

    #[test]
    fn a_tree_as_deep_as_its_longest_key_does_not_overflow_the_stack() {
        const DEPTH: usize = 20_000;
        let long = vec![b'a'; DEPTH];
        let mut tree = RadixTree::<u8>::default();
        for length in 0..=DEPTH {
            *tree.entry(&long[..length]) = 1;
        }
        assert_eq!(tree.beginning(&long).count(), DEPTH + 1);
        let copy = tree.clone();
        tree.prune(&long, |_| true);
        assert_eq!(tree.beginning(&long).count(), DEPTH);
        assert_eq!(copy.beginning(&long).count(), DEPTH + 1);
    }
}
