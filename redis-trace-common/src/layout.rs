//! Structures that the kernel's side and the program's lay out alike: no padding, and a decoder that cannot misread.

/// A value that can be read back from the bytes of a record.
pub trait Field: Sized {
    /// Bytes it takes in a record.
    const SIZE: usize;
    /// Reads it from exactly `SIZE` bytes; `None` when there are fewer.
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Field for $int {
            const SIZE: usize = size_of::<$int>();
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_ne_bytes(bytes.get(..size_of::<$int>())?.try_into().ok()?))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32);

impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.get(..N)?.try_into().ok()
    }
}

impl<const N: usize> Field for [u64; N] {
    const SIZE: usize = N * u64::SIZE;
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.get(..Self::SIZE)?.chunks_exact(u64::SIZE).map(u64::read);
        let mut all = [0; N];
        for word in &mut all {
            *word = words.next()??;
        }
        Some(all)
    }
}

/// Declares a `#[repr(C)]` structure, asserts that it has no padding, and makes it a [`Field`].
macro_rules! layout {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
        const _: () = assert!(size_of::<$name>() == 0 $(+ <$ty as $crate::layout::Field>::SIZE)*, "a record has no padding");
        impl $crate::layout::Field for $name {
            const SIZE: usize = size_of::<$name>();
            fn read(bytes: &[u8]) -> Option<Self> {
                let mut at = 0;
                $(let $field = <$ty as $crate::layout::Field>::read(bytes.get(at..)?)?; at += <$ty as $crate::layout::Field>::SIZE;)*
                let _ = at;
                Some(Self { $($field,)* })
            }
        }
    };
}
pub(crate) use layout;
