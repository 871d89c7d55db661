//! The running kernel's own description of its types, read as far as probes need it: offsets of members, counts of
//! arguments, names of numbers.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h. What this reader does not know it steps over by the
//! layout that the file brings along (since Linux 7.1); without one an unknown kind ends the reading.

use std::iter::successors;
use std::mem;

use redis_trace_common::member::Shape;

/// `/sys/kernel/btf/vmlinux`, parsed.
pub(super) struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    types: Vec<Type>,
    /// Of the types whose names fall into the same bucket, the first; 0 where there is none.
    buckets: Vec<usize>,
}

/// `struct btf_type`, and where what follows it begins.
#[derive(Clone, Copy, Default)]
struct Type {
    name: u32,
    info: u32,
    /// A size, or the type it refers to.
    size: u32,
    details: usize,
    /// The next type of the same bucket; 0 after the last.
    next: usize,
}

/// One thing a [`Type`] lists: a member, an argument, an enumerator.
struct Item {
    name: u32,
    kind: u32,
    /// Of a member: where it is.
    offset: u32,
}

/// A member that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    bits: u32,
    /// Width of a bit-field, 0 for a plain member.
    width: u32,
    kind: u32,
}

/// Why bytes are not BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BtfError {
    /// No magic, or a header that points outside the file.
    #[error("its header is not BTF's")]
    Header,
    /// A type that is neither known nor described.
    #[error("it has types of a kind ({0}) that this version does not know and that it does not describe")]
    Kind(u32),
}

/// `BTF_MAGIC`, `BTF_VERSION` and no flags.
const MAGIC: u32 = 0x0001_eb9f;

const INT: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const FLOAT: u32 = 16;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Bytes that follow a type of each known kind: once, and for each thing it lists.
const LAYOUT: [(usize, usize); 20] = [
    (0, 0),
    (4, 0), // INT
    (0, 0),
    (12, 0), // ARRAY
    (0, 12), // STRUCT
    (0, 12), // UNION
    (0, 8),  // ENUM
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),  // FUNC_PROTO
    (4, 0),  // VAR
    (0, 12), // DATASEC
    (0, 0),
    (4, 0), // DECL_TAG
    (0, 0),
    (0, 12), // ENUM64
];

/// How deep types may refer to one another; a kernel's go a few deep, a broken file's in circles.
const DEPTH: u32 = 10;

/// A kernel has a hundred thousand types, and a walk over all of them for each name took 70 ms.
const BUCKETS: usize = 1 << 15;

impl Type {
    /// 7 bits since Linux 7.1; the two above the old 5 were always zero.
    fn kind(self) -> u32 {
        self.info >> 24 & 0x7f
    }

    /// How many things it lists: 24 bits since Linux 7.1, of which the upper 8 were always zero.
    fn count(self) -> usize {
        (self.info & 0xff_ffff) as usize
    }

    /// Its members say whether they are bit-fields.
    fn has_bit_fields(self) -> bool {
        self.info >> 31 == 1
    }
}

impl Btf {
    /// Parses the bytes of a BTF file.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let header = |at| word(&bytes, at).map(|word| word as usize).ok_or(BtfError::Header);
        if bytes.get(..2) != Some(&[0x9f, 0xeb]) {
            return Err(BtfError::Header);
        }
        let (length, types, types_length) = (header(4)?, header(8)?, header(12)?);
        // Since Linux 7.1: `struct btf_layout { __u8 info_sz; __u8 elem_sz; __u16 flags; }` for each kind.
        let layout = if length >= 32 { (length + header(24)?, header(28)? / 4) } else { (0, 0) };
        let strings = length + header(16)?;
        let mut btf = Self { bytes, strings, types: vec![Type::default()], buckets: vec![0; BUCKETS] };
        let (mut at, end) = (length + types, length + types + types_length);
        while at < end {
            let word = |n: usize| word(&btf.bytes, at + 4 * n).ok_or(BtfError::Header);
            let ty = Type { name: word(0)?, info: word(1)?, size: word(2)?, details: at + 12, next: 0 };
            let (once, each) = btf.sizes(ty.kind() as usize, layout).ok_or(BtfError::Kind(ty.kind()))?;
            at = ty.details + once + each * ty.count();
            btf.types.push(ty);
        }
        btf.sort_into_buckets();
        Ok(btf)
    }

    /// Parses the bytes of the kernel's file together with those of a module's, which goes on where that one ends: its types
    /// are numbered behind the kernel's, and its strings lie behind them. One that does not fit is left out.
    pub(super) fn with_module(kernel: Vec<u8>, module: &[u8]) -> Result<Self, BtfError> {
        Self::parse(joined(&kernel, module).unwrap_or(kernel))
    }

    /// Chains the types by their names, from the last to the first, so that each chain is in their order.
    fn sort_into_buckets(&mut self) {
        for id in (1..self.types.len()).rev() {
            let bucket = bucket(self.string(self.types[id].name));
            self.types[id].next = mem::replace(&mut self.buckets[bucket], id);
        }
    }

    /// Bytes that follow a type of this kind.
    fn sizes(&self, kind: usize, (layout, kinds): (usize, usize)) -> Option<(usize, usize)> {
        if let Some(known) = LAYOUT.get(kind) {
            return Some(*known);
        }
        let described = self.bytes.get(layout + 4 * kind..)?;
        (kind < kinds).then_some((usize::from(*described.first()?), usize::from(*described.get(1)?)))
    }

    /// The word that a probe gets for the first of these paths that the kernel has in this shape.
    pub(super) fn member(&self, paths: &[&str], shape: Shape) -> Option<u32> {
        paths.iter().find_map(|path| {
            let (structure, members) = path.split_once('.')?;
            let mut words = self.named(structure, &[STRUCT, UNION]).filter_map(|ty| {
                let found = self.find(ty, members, 0, DEPTH)?;
                self.fits(found, shape)
            });
            let word = words.next()?;
            // Two structures of one name, and the member elsewhere in the second: it could be either.
            words.all(|other| other == word).then_some(word)
        })
    }

    /// The word of a member that has the shape wanted.
    fn fits(&self, found: Found, shape: Shape) -> Option<u32> {
        let fits = match shape {
            Shape::Bit => found.width == 1,
            Shape::Bits => found.width > 0,
            Shape::Bytes(size) => found.width == 0 && self.size(found.kind, DEPTH) == Some(size),
            Shape::Any => found.width == 0,
        };
        fits.then_some(if matches!(shape, Shape::Bit | Shape::Bits) { found.bits } else { found.bits / 8 })
    }

    /// How many arguments a function has.
    pub(super) fn function_arguments(&self, name: &str) -> Option<u32> {
        self.named(name, &[FUNC]).find_map(|function| self.prototype(function.size))
    }

    /// How many arguments a tracepoint has: `typedef void (*btf_trace_NAME)(void *, …)`, include/trace/bpf_probe.h.
    pub(super) fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let typedef = self.named(&format!("btf_trace_{name}"), &[TYPEDEF]).next()?;
        let pointer = self.types.get(typedef.size as usize)?;
        self.prototype(pointer.size)?.checked_sub(1)
    }

    fn prototype(&self, id: u32) -> Option<u32> {
        let ty = self.types.get(id as usize)?;
        (ty.kind() == FUNC_PROTO).then_some(ty.info & 0xff_ffff)
    }

    /// The names of an enumeration's values up to 255, by value; empty when the kernel has none of that name.
    pub(super) fn enumerators(&self, name: &str) -> Vec<Option<String>> {
        let mut names = Vec::new();
        let Some(ty) = self.named(name, &[ENUM]).next() else {
            return names;
        };
        for index in 0..ty.count() {
            let Some(item) = self.item(ty, index, 8) else { break };
            let value = item.kind as usize;
            if value < 256 {
                names.resize(names.len().max(value + 1), None);
                names[value] = Some(String::from_utf8_lossy(self.string(item.name)).into_owned());
            }
        }
        names
    }

    /// A file of these functions and typedefs alone, each with its number here. Whoever reads that one instead has a name at once, and
    /// spends no memory on a kernel's structures.
    pub(super) fn excerpt(&self, names: impl Iterator<Item = String>) -> Vec<u8> {
        let mut types = vec![[0, POINTER << 24, 0]; self.types.len().saturating_sub(1)];
        let mut strings = vec![0];
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        for name in names {
            for id in self.ids(&name) {
                let kind = self.types[id].kind();
                if matches!(kind, FUNC | TYPEDEF) {
                    types[id - 1] = [size(strings.len()), kind << 24, 0];
                }
            }
            strings.extend(name.bytes().chain([0]));
        }
        let length = size(types.len() * 12);
        let header = [MAGIC, 24, 0, length, length, size(strings.len())];
        let words = header.iter().chain(types.as_flattened());
        words.flat_map(|word| word.to_ne_bytes()).chain(strings).collect()
    }

    /// The types of a name that are of one of these kinds.
    fn named(&self, name: &str, kinds: &[u32]) -> impl Iterator<Item = Type> {
        self.ids(name).map(|id| self.types[id]).filter(move |ty| kinds.contains(&ty.kind()))
    }

    /// The numbers of the types of a name.
    fn ids(&self, name: &str) -> impl Iterator<Item = usize> {
        let some = |id: usize| (id != 0).then_some(id);
        let chain = successors(some(self.buckets[bucket(name.as_bytes())]), move |id| some(self.types[*id].next));
        chain.filter(move |id| self.is(self.types[*id].name, name))
    }

    fn is(&self, at: u32, name: &str) -> bool {
        let bytes = self.bytes.get(self.strings + at as usize..).unwrap_or_default();
        bytes.starts_with(name.as_bytes()) && bytes.get(name.len()) == Some(&0)
    }

    fn string(&self, at: u32) -> &[u8] {
        let bytes = self.bytes.get(self.strings + at as usize..).unwrap_or_default();
        bytes.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn item(&self, ty: Type, index: usize, size: usize) -> Option<Item> {
        let at = ty.details + index * size;
        Some(Item {
            name: word(&self.bytes, at)?,
            kind: word(&self.bytes, at + 4)?,
            offset: if size > 8 { word(&self.bytes, at + 8)? } else { 0 },
        })
    }

    /// Finds a member by its path, through anonymous structures too.
    fn find(&self, ty: Type, path: &str, base: u32, depth: u32) -> Option<Found> {
        let depth = depth.checked_sub(1)?;
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        (0..ty.count()).map_while(|index| self.item(ty, index, 12)).find_map(|member| {
            let (bits, width) =
                if ty.has_bit_fields() { (member.offset & 0xff_ffff, member.offset >> 24) } else { (member.offset, 0) };
            let bits = base.checked_add(bits)?;
            if self.string(member.name).is_empty() {
                return self.find(self.structure(member.kind)?, path, bits, depth);
            }
            match rest {
                _ if !self.is(member.name, name) => None,
                None => Some(Found { bits, width, kind: member.kind }),
                Some(rest) => self.find(self.structure(member.kind)?, rest, bits, depth),
            }
        })
    }

    /// The type behind `typedef`, `const` and the like.
    fn plain(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let ty = *self.types.get(id as usize)?;
            match ty.kind() {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = ty.size,
                _ => return Some(ty),
            }
        }
        None
    }

    fn structure(&self, id: u32) -> Option<Type> {
        self.plain(id).filter(|ty| matches!(ty.kind(), STRUCT | UNION))
    }

    /// How many bytes a structure takes; absent when there are several of the name, of other sizes.
    pub(super) fn structure_size(&self, name: &str) -> Option<u32> {
        let mut sizes = self.named(name, &[STRUCT]).map(|ty| ty.size);
        let size = sizes.next()?;
        sizes.all(|other| other == size).then_some(size)
    }

    /// How many bytes a type takes.
    fn size(&self, id: u32, depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let ty = self.plain(id)?;
        match ty.kind() {
            INT | STRUCT | UNION | ENUM | ENUM64 | FLOAT => Some(ty.size),
            POINTER => Some(8),
            ARRAY => {
                let element = self.size(word(&self.bytes, ty.details)?, depth)?;
                element.checked_mul(word(&self.bytes, ty.details + 8)?)
            }
            _ => None,
        }
    }
}

/// The kernel's types and a module's as one file.
fn joined(kernel: &[u8], module: &[u8]) -> Option<Vec<u8>> {
    let number = |bytes: &[u8], at| word(bytes, at).map(|word| word as usize);
    let part = |bytes, at: usize| -> Option<Vec<u8>> {
        let start = number(bytes, 4)? + number(bytes, at)?;
        Some(bytes.get(start..start.checked_add(number(bytes, at + 4)?)?)?.to_vec())
    };
    let (types, strings) = (8, 16);
    let types = [part(kernel, types)?, part(module, types)?].concat();
    let strings = [part(kernel, strings)?, part(module, strings)?].concat();
    // What Linux 7.1 says of the kinds of types comes last.
    let kinds = if number(kernel, 4)? >= 32 { part(kernel, 24)? } else { Vec::new() };
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).ok();
    let (types_end, strings_end) = (size(&types)?, size(&types)?.checked_add(size(&strings)?)?);
    let header = [MAGIC, 32, 0, types_end, types_end, size(&strings)?, strings_end, size(&kinds)?];
    Some([header.map(u32::to_ne_bytes).as_flattened(), &types, &strings, &kinds].concat())
}

/// Where types of this name are chained: by FNV-1a.
fn bucket(name: &[u8]) -> usize {
    let hash = name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 15) as usize % BUCKETS
}

/// The word at a place.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
