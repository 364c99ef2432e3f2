//! Our own tables, by ids of a type of their own.
//!
//! An id is made by [`Arena::push`], or from a number of a file that was checked when it was read. So looking one up needs
//! no answer for the case that there is none; an id of another table would be a mistake in this code, and panics.

use std::marker::PhantomData;

/// Things by their ids, which count from 0.
#[derive(Clone, PartialEq, Eq)]
pub struct Arena<I, T> {
    all: Vec<T>,
    ids: PhantomData<fn(I)>,
}

impl<I: From<usize> + Into<usize>, T> Arena<I, T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arena<I, T> {
        Arena { all: Vec::new(), ids: PhantomData }
    }

    /// Adds one.
    pub fn push(&mut self, one: T) -> I {
        self.all.push(one);
        I::from(self.all.len().saturating_sub(1))
    }

    /// That of this id.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "an id that exists is one of this table's")]
    pub fn at(&self, id: I) -> &T {
        &self.all[id.into()]
    }

    /// That of this id, to be changed.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "an id that exists is one of this table's")]
    pub fn at_mut(&mut self, id: I) -> &mut T {
        &mut self.all[id.into()]
    }

    /// How many there are: ids are less.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All ids.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + use<I, T> {
        (0..self.all.len()).map(I::from)
    }

    /// All, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.all.iter()
    }

    /// All, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.all.iter_mut()
    }

    /// All with their ids.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (I, &T)> {
        self.all.iter().enumerate().map(|(n, one)| (I::from(n), one))
    }

    /// The first that fits.
    pub fn position(&self, fits: impl FnMut(&T) -> bool) -> Option<I> {
        self.all.iter().position(fits).map(I::from)
    }

    /// As a slice, by number.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.all
    }
}

impl<I: From<usize> + Into<usize>, T> Default for Arena<I, T> {
    fn default() -> Arena<I, T> {
        Arena::new()
    }
}

impl<I, T> FromIterator<T> for Arena<I, T> {
    fn from_iter<A: IntoIterator<Item = T>>(all: A) -> Arena<I, T> {
        Arena { all: all.into_iter().collect(), ids: PhantomData }
    }
}

impl<'a, I, T> IntoIterator for &'a Arena<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}

impl<'a, I, T> IntoIterator for &'a mut Arena<I, T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter_mut()
    }
}

impl<I, T: std::fmt::Debug> std::fmt::Debug for Arena<I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}
