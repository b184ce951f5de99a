//! A persistent hash table that is read with one cold cache line.
//!
//! A table of a hundred thousand cells does not fit into the caches near a core, so what a look-up costs is the number of lines
//! that it must wait for one after the other. Cells therefore lie in pages, found through a small directory that does stay in
//! the cache: sixteen ways at each level, by the low bits of the hash. Within its page a cell stands where the high bits of the
//! hash say, or shortly behind. Cloning a table copies one pointer; a change copies one page and the directory above it, and
//! only if another table still holds them.

use super::bucket::Work;
use std::sync::Arc;

/// From hashes to values. Two keys of one hash are one key here; who asks must tell them apart.
pub(crate) struct Table<V> {
    root: Node<V>,
}

enum Node<V> {
    Page(Page<V>),
    Fan(Arc<[Node<V>; FAN]>),
}

/// A power of two of cells, half of them free, so that a search ends soon, also one that finds nothing; or none at all.
type Page<V> = Arc<[Cell<V>]>;

/// Aligned, so that one of up to 32 bytes never lies across two lines.
#[derive(Clone)]
#[repr(align(32))]
struct Cell<V>(Option<(u64, V)>);

/// Ways at each level of the directory.
const FAN: usize = 1 << FAN_BITS;
const FAN_BITS: u32 = 4;

/// A page of more cells is split. Two kilobytes: what a change copies; the directory of 100,000 cells is 100 kilobytes.
const PAGE_CELLS: usize = 64;

/// Levels that use up the low 48 bits of the hash. Hashes that are the same in all of them share a page, however large: with a
/// hash that is worth its name, that never comes up.
const MAX_DEPTH: u32 = 12;

/// The bits that the directory leaves for the place in the page.
const PLACE_AT: u32 = FAN_BITS * MAX_DEPTH;

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone() }
    }
}

impl<V> Clone for Node<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Page(page) => Self::Page(Arc::clone(page)),
            Self::Fan(children) => Self::Fan(Arc::clone(children)),
        }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { root: Node::empty() }
    }
}

impl<V> Table<V> {
    /// Whether there is no cell at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
    /// The value of that hash.
    #[inline]
    pub(crate) fn get(&self, hash: u64, work: &mut Work) -> Option<&V> {
        let mut node = &self.root;
        let mut digits = hash;
        let page = loop {
            match node {
                Node::Page(page) => break page,
                Node::Fan(children) => {
                    node = &children[digits as usize % FAN];
                    digits >>= FAN_BITS;
                }
            }
        };
        for at in search(hash, page.len()) {
            work.cells += 1;
            match &page.get(at)?.0 {
                Some((held, value)) if *held == hash => return Some(value),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }
}

impl<V: Clone> Table<V> {
    /// The value of that hash, to be changed.
    pub(crate) fn get_mut(&mut self, hash: u64) -> Option<&mut V> {
        // Asked first: a miss must not copy the way to it.
        self.get(hash, &mut Work::default())?;
        let mut node = &mut self.root;
        let mut depth = 0;
        loop {
            match node {
                Node::Page(page) => {
                    let at = find(page, hash).ok()?;
                    return Arc::make_mut(page).get_mut(at)?.0.as_mut().map(|(_, value)| value);
                }
                Node::Fan(children) => node = &mut Arc::make_mut(children)[digit(hash, depth)],
            }
            depth += 1;
        }
    }
    /// Sets the value of that hash.
    pub(crate) fn set(&mut self, hash: u64, value: V) {
        let mut node = &mut self.root;
        let mut depth = 0;
        loop {
            node.make_room(hash, depth);
            match node {
                Node::Page(page) => {
                    let (Ok(at) | Err(at)) = find(page, hash);
                    if let Some(cell) = Arc::make_mut(page).get_mut(at) {
                        cell.0 = Some((hash, value));
                    }
                    return;
                }
                Node::Fan(children) => node = &mut Arc::make_mut(children)[digit(hash, depth)],
            }
            depth += 1;
        }
    }
    /// Takes the value of that hash out.
    pub(crate) fn remove(&mut self, hash: u64) -> Option<V> {
        self.get(hash, &mut Work::default())?;
        self.root.remove(hash, 0)
    }
}

impl<V> Node<V> {
    fn empty() -> Self {
        Self::Page(Arc::from(Vec::new()))
    }
    fn is_empty(&self) -> bool {
        // A page that holds nothing is made one without cells, a fan that holds nothing becomes a page.
        matches!(self, Self::Page(page) if page.is_empty())
    }
}

impl<V: Clone> Node<V> {
    /// Makes a page that has no room for one more hash larger, or a fan of pages.
    fn make_room(&mut self, hash: u64, depth: u32) {
        let Self::Page(page) = self else { return };
        let used = used(page);
        if capacity(used + 1) <= page.len() || find(page, hash).is_ok() {
            return;
        }
        let cells = take(page);
        if page.len() < PAGE_CELLS || depth == MAX_DEPTH {
            *page = fill(cells, used + 1);
            return;
        }
        let mut parts = [const { Vec::new() }; FAN];
        cells.into_iter().for_each(|cell| parts[digit(cell.0, depth)].push(cell));
        *self = Self::Fan(Arc::new(parts.map(|part| {
            let used = part.len();
            Self::Page(fill(part, used))
        })));
    }
    /// As deep as the directory, which is at most [`MAX_DEPTH`].
    fn remove(&mut self, hash: u64, depth: u32) -> Option<V> {
        match self {
            Self::Page(page) => {
                let at = find(page, hash).ok()?;
                let removed = take_out(Arc::make_mut(page), at);
                let used = used(page);
                // Four times too large, so that a page at the limit is not made anew again and again.
                if used == 0 || capacity(used) * 4 <= page.len() {
                    *page = fill(take(page), used);
                }
                removed
            }
            Self::Fan(children) => {
                let children = Arc::make_mut(children);
                let removed = children[digit(hash, depth)].remove(hash, depth + 1);
                if children.iter().all(Node::is_empty) {
                    *self = Self::empty();
                }
                removed
            }
        }
    }
}

fn digit(hash: u64, depth: u32) -> usize {
    (hash >> (FAN_BITS * depth)) as usize % FAN
}

/// The places of a hash in a page of that many cells, the first to look at first.
#[inline]
fn search(hash: u64, cells: usize) -> impl Iterator<Item = usize> {
    let home = (hash >> PLACE_AT) as usize;
    (home..home + cells).map(move |at| at & (cells - 1))
}

/// Where the hash is, or where it would be put.
fn find<V>(page: &[Cell<V>], hash: u64) -> Result<usize, usize> {
    for at in search(hash, page.len()) {
        match page.get(at).map(|cell| &cell.0) {
            Some(Some((held, _))) if *held == hash => return Ok(at),
            Some(Some(_)) => {}
            Some(None) | None => return Err(at),
        }
    }
    Err(page.len())
}

fn used<V>(page: &[Cell<V>]) -> usize {
    page.iter().filter(|cell| cell.0.is_some()).count()
}

/// How many cells a page of so many used ones has.
fn capacity(used: usize) -> usize {
    if used == 0 { 0 } else { (used * 2).next_power_of_two() }
}

/// What stands in the page, moved out if nobody else holds it.
fn take<V: Clone>(page: &mut Page<V>) -> Vec<(u64, V)> {
    match Arc::get_mut(page) {
        Some(cells) => cells.iter_mut().filter_map(|cell| cell.0.take()).collect(),
        None => page.iter().filter_map(|cell| cell.0.clone()).collect(),
    }
}

/// A page with room for so many.
fn fill<V>(cells: Vec<(u64, V)>, used: usize) -> Page<V> {
    let mut page: Vec<Cell<V>> = (0..capacity(used)).map(|_| Cell(None)).collect();
    for (hash, value) in cells {
        if let Err(at) = find(&page, hash)
            && let Some(cell) = page.get_mut(at)
        {
            cell.0 = Some((hash, value));
        }
    }
    Arc::from(page)
}

/// Empties a cell and moves those behind it forward, where they may be: a search must not end too early.
fn take_out<V>(page: &mut [Cell<V>], at: usize) -> Option<V> {
    let removed = page.get_mut(at)?.0.take();
    let last = page.len() - 1;
    let (mut hole, mut next) = (at, (at + 1) & last);
    while let Some((hash, _)) = &page[next].0 {
        let home = (hash >> PLACE_AT) as usize;
        if next.wrapping_sub(home) & last >= next.wrapping_sub(hole) & last {
            page.swap(hole, next);
            hole = next;
        }
        next = (next + 1) & last;
    }
    removed.map(|(_, value)| value)
}

#[cfg(test)]
impl<V> Table<V> {
    /// How many pages and fans there are, and how many of them `other` does not share.
    pub(crate) fn count_against(&self, other: &Self) -> (usize, usize) {
        fn addresses<V>(table: &Table<V>) -> std::collections::HashSet<*const u8> {
            let mut seen = std::collections::HashSet::new();
            let mut open = vec![&table.root];
            while let Some(node) = open.pop() {
                match node {
                    Node::Page(page) => drop(seen.insert(Arc::as_ptr(page).cast())),
                    Node::Fan(children) => {
                        seen.insert(Arc::as_ptr(children).cast());
                        open.extend(children.iter());
                    }
                }
            }
            seen
        }
        let (own, others) = (addresses(self), addresses(other));
        (own.len(), own.difference(&others).count())
    }
    /// The bytes of a cell.
    pub(crate) const CELL_BYTES: usize = size_of::<Cell<V>>();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Few hashes, many of them alike in the bits of the directory or in those of the page.
    fn hash() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..200_u64,
            (0..200_u64).prop_map(|high| high << PLACE_AT),
            (0..20_u64, 0..20_u64).prop_map(|(high, low)| high << PLACE_AT | low << (PLACE_AT - FAN_BITS)),
            any::<u64>(),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_sorted_map_holds(steps in proptest::collection::vec((0..4_u8, hash(), any::<u8>()), 0..600)) {
            let mut table = Table::<u8>::default();
            let mut model = BTreeMap::<u64, u8>::new();
            let mut earlier = Vec::new();
            for (turn, (step, hash, value)) in steps.into_iter().enumerate() {
                if turn % 40 == 0 {
                    earlier.push((table.clone(), model.clone()));
                }
                match step {
                    0 => prop_assert_eq!(table.remove(hash), model.remove(&hash)),
                    1 => prop_assert_eq!(table.get_mut(hash).map(|held| *held = value), model.get_mut(&hash).map(|held| *held = value)),
                    _ => {
                        table.set(hash, value);
                        model.insert(hash, value);
                    }
                }
            }
            earlier.push((table.clone(), model.clone()));
            for (table, model) in &earlier {
                prop_assert_eq!(table.is_empty(), model.is_empty());
                for hash in (0..200).chain(model.keys().copied()) {
                    prop_assert_eq!(table.get(hash, &mut Work::default()), model.get(&hash));
                }
            }
            for hash in model.keys() {
                table.remove(*hash);
            }
            prop_assert!(table.is_empty());
        }
    }

    fn spread(number: u64) -> u64 {
        let product = u128::from(number + 1) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
        (product as u64) ^ ((product >> 64) as u64)
    }

    #[test]
    fn a_look_up_reads_a_cell_or_two_and_a_change_copies_one_page_and_the_way_to_it() {
        const MANY: u64 = 100_000;
        let mut table = Table::default();
        (0..MANY).for_each(|number| table.set(spread(number), number));
        let mut work = Work::default();
        for number in 0..MANY {
            assert_eq!(table.get(spread(number), &mut work), Some(&number));
        }
        assert!(work.cells < 2 * MANY as usize, "{work:?}");
        let before = table.clone();
        table.set(spread(4_711), 0);
        let (nodes, copied) = table.count_against(&before);
        assert!(nodes > 2_000 && copied <= 6, "{copied} of {nodes} pages and fans copied");
    }

    #[test]
    fn pages_shrink_when_what_was_in_them_goes() {
        let mut table = Table::default();
        (0..10_000).for_each(|number| table.set(spread(number), number));
        (10..10_000).for_each(|number| assert_eq!(table.remove(spread(number)), Some(number)));
        let mut open = vec![&table.root];
        let mut cells = 0;
        while let Some(node) = open.pop() {
            match node {
                Node::Page(page) => cells += page.len(),
                Node::Fan(children) => open.extend(children.iter()),
            }
        }
        assert!(cells <= 100, "{cells} cells hold ten values");
        assert!((0..10).all(|number| table.get(spread(number), &mut Work::default()) == Some(&number)));
    }
}
