//! A set of methods: the standard ones as bits, so that a route that names five takes no more memory than one that names none.

use http::Method;

/// Methods that a route takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MethodSet {
    standard: u16,
    others: Box<[Method]>,
}

const STANDARD: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::CONNECT,
    Method::TRACE,
];

fn bit(method: &Method) -> Option<u16> {
    STANDARD.iter().position(|standard| standard == method).map(|place| 1 << place)
}

impl MethodSet {
    /// Whether no method is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.standard == 0 && self.others.is_empty()
    }
    /// Whether that method is in it.
    pub(crate) fn contains(&self, method: &Method) -> bool {
        match bit(method) {
            Some(bit) => self.standard & bit != 0,
            None => self.others.contains(method),
        }
    }
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Method> {
        STANDARD.iter().filter(|method| self.contains(method)).chain(&self.others)
    }
}

impl FromIterator<Method> for MethodSet {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        let mut standard = 0;
        let others = methods.into_iter().filter(|method| match bit(method) {
            Some(bit) => {
                standard |= bit;
                false
            }
            None => true,
        });
        let others = others.collect();
        Self { standard, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_and_other_methods_are_both_held() {
        let brew = Method::from_bytes(b"BREW").unwrap();
        let set: MethodSet = [Method::TRACE, brew.clone(), Method::GET, Method::GET].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [&Method::GET, &Method::TRACE, &brew]);
        assert!(set.contains(&brew) && !set.contains(&Method::POST) && !set.contains(&Method::from_bytes(b"get").unwrap()));
        assert!(MethodSet::default().is_empty() && !set.is_empty());
    }
}
