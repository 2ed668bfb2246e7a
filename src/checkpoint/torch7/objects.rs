//! Objects of Torch 7's serialisation, `torch.save` in its binary form, little-endian.
//!
//! Source: `File.lua` and the `write` methods of tensors and storages in torch7.
//! A `long` has eight bytes, or four if a 32-bit system or Windows wrote the file.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Read;

use super::super::header::unreadable;
use super::super::safetensors::{collect, narrow};
use super::super::{CheckpointError, StoredTensor, elements};
use crate::memory;
use crate::text::printable;

/// Deeper nesting is refused: a network nests about ten levels.
const MAX_NESTING: usize = 100;
/// Axes of a tensor.
const MAX_AXES: usize = 16;

/// Number of a table or object in a [`File`].
pub(super) type Id = usize;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Number(f64),
    Boolean(bool),
    String(Vec<u8>),
    /// A table, tensor, storage or object; several values may refer to the same one.
    Reference(Id),
}

/// What a [`Value::Reference`] refers to.
#[derive(Debug)]
pub(super) enum Object {
    /// Its contents are being read: an object may contain itself.
    Unfinished,
    /// Pairs of keys and values.
    Table(Vec<(Value, Value)>),
    /// Extents, strides and first element in a storage.
    Tensor {
        extents: Vec<usize>,
        strides: Vec<usize>,
        /// Of the first element, from 0.
        offset: usize,
        /// `None` for an empty tensor.
        storage: Option<Id>,
    },
    /// Numbers, converted to double precision only if they are wider than single precision.
    Storage(Numbers),
    /// An object of another class, with its fields.
    Instance { class: String, fields: Value },
}

/// Numbers of a storage.
#[derive(Debug)]
pub(super) enum Numbers {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Numbers::Single(values) => values.len(),
            Numbers::Double(values) => values.len(),
        }
    }
}

/// A file: the value that was saved and the objects that it refers to.
pub(super) struct File {
    pub(super) root: Value,
    objects: Vec<Object>,
    /// Numbers in all storages that no tensor was read from yet.
    unread: Cell<usize>,
}

impl File {
    /// Reads a file of `len` bytes whose longs have `long` bytes.
    ///
    /// # Errors
    /// If the bytes are not such a file, or hold more than one value; with the number of bytes that
    /// were not read.
    pub(super) fn read(
        reader: &mut impl Read,
        len: u64,
        long: usize,
    ) -> Result<File, (CheckpointError, u64)> {
        let mut parser = Parser {
            reader,
            remaining: len,
            long,
            objects: Vec::new(),
            ids: HashMap::new(),
            nesting: 0,
        };
        let read = match parser.value() {
            Ok(root) => match parser.remaining {
                0 => Ok(root),
                bytes => Err(damaged(format!("{bytes} bytes follow the saved value"))),
            },
            Err(error) => Err(error),
        };
        let root = read.map_err(|error| (error, parser.remaining))?;
        let numbers = parser.objects.iter().map(|object| match object {
            Object::Storage(numbers) => numbers.len(),
            _ => 0,
        });
        let unread = Cell::new(numbers.sum());
        Ok(File {
            root,
            objects: parser.objects,
            unread,
        })
    }

    /// The object that a value refers to; `None` for numbers, strings and nil.
    pub(super) fn object(&self, value: &Value) -> Option<&Object> {
        match value {
            Value::Reference(id) => Some(&self.objects[*id]),
            _ => None,
        }
    }

    /// The entry of a table, or the field of an object, under a name; nil if there is none.
    pub(super) fn field(&self, value: &Value, name: &str) -> &Value {
        let found = self.pairs(value).iter().find(
            |(key, _)| matches!(key, Value::String(bytes) if bytes.as_slice() == name.as_bytes()),
        );
        found.map_or(&Value::Nil, |(_, value)| value)
    }

    /// The entries of a table under the keys 1, 2 and so on.
    pub(super) fn list(&self, value: &Value) -> Vec<&Value> {
        let numbered = |(key, value)| match key {
            &Value::Number(number) => Some((number, value)),
            _ => None,
        };
        let pairs = self.pairs(value).iter().map(|(key, value)| (key, value));
        let mut entries: Vec<(f64, &Value)> = pairs.filter_map(numbered).collect();
        entries.sort_by(|a, b| a.0.total_cmp(&b.0));
        entries.into_iter().map(|(_, value)| value).collect()
    }

    /// The pairs of a table, or of the fields of an object.
    fn pairs(&self, value: &Value) -> &[(Value, Value)] {
        match self.object(value) {
            Some(Object::Table(pairs)) => pairs,
            Some(Object::Instance { fields, .. }) => match self.object(fields) {
                Some(Object::Table(pairs)) => pairs,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// The elements of a tensor, row-major; `name` is for errors. `None` if the value is nil or
    /// an empty tensor.
    ///
    /// # Errors
    /// If the value is no tensor, or its elements lie outside its storage.
    pub(super) fn tensor(
        &self,
        value: &Value,
        name: &str,
    ) -> Result<Option<StoredTensor>, CheckpointError> {
        let (extents, strides, offset, storage) = match self.object(value) {
            None if *value == Value::Nil => return Ok(None),
            Some(Object::Tensor {
                extents,
                strides,
                offset,
                storage,
            }) => (extents, strides, *offset, storage),
            _ => return Err(damaged(format!("{name} is not a tensor"))),
        };
        let Some(Object::Storage(numbers)) = storage.map(|id| &self.objects[id]) else {
            return Ok(None);
        };
        if extents.is_empty() {
            return Ok(None);
        }
        let outside = || damaged(format!("{name} has elements outside its storage"));
        let count = elements(extents);
        // No parameter repeats elements, so there are at most as many as in the storage.
        let count = count.filter(|count| *count <= numbers.len());
        let count = count.ok_or_else(outside)?;
        if count == 0 {
            return Ok(None);
        }
        // Tensors share storages, but no parameter is a part of another.
        let unread = self.unread.get().checked_sub(count);
        let more = || damaged("its layers have more numbers than its storages".to_owned());
        self.unread.set(unread.ok_or_else(more)?);
        let axes = extents.iter().zip(strides);
        let last = axes.clone().try_fold(offset, |at, (extent, stride)| {
            at.checked_add(stride.checked_mul(extent - 1)?)
        });
        if last.is_none_or(|last| last >= numbers.len()) {
            return Err(outside());
        }
        let mut indices = Vec::with_capacity(count);
        indices.push(offset);
        for (extent, stride) in axes {
            indices = indices
                .iter()
                .flat_map(|index| (0..*extent).map(move |step| index + step * stride))
                .collect();
        }
        let values = match numbers {
            Numbers::Single(values) => indices.iter().map(|index| values[*index]).collect(),
            Numbers::Double(values) => {
                let wide: Vec<f64> = indices.iter().map(|index| values[*index]).collect();
                narrow(name, &wide)?
            }
        };
        Ok(Some(StoredTensor::f32(extents.clone(), values)))
    }
}

pub(super) fn damaged(reason: String) -> CheckpointError {
    CheckpointError::Damaged { reason }
}

/// Reads values one after the other and never more bytes than the file has.
struct Parser<'a, R> {
    reader: &'a mut R,
    remaining: u64,
    /// Bytes of a long.
    long: usize,
    objects: Vec<Object>,
    /// Objects by their number in the file.
    ids: HashMap<i32, Id>,
    nesting: usize,
}

impl<R: Read> Parser<'_, R> {
    fn value(&mut self) -> Result<Value, CheckpointError> {
        match self.int()? {
            0 => Ok(Value::Nil),
            1 => Ok(Value::Number(f64::from_le_bytes(self.array()?))),
            2 => Ok(Value::String(self.string()?)),
            3 => self.shared(Parser::table),
            4 => self.shared(Parser::instance),
            5 => Ok(Value::Boolean(self.int()? != 0)),
            6 => {
                self.function()?;
                Ok(Value::Nil)
            }
            7 | 8 => self.shared(|parser| {
                parser.function()?;
                Ok(Object::Table(Vec::new()))
            }),
            other => Err(damaged(format!(
                "it holds a value of the unknown type {other}"
            ))),
        }
    }

    /// A value that begins with its number in the file, and is written only once.
    fn shared(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Object, CheckpointError>,
    ) -> Result<Value, CheckpointError> {
        let number = self.int()?;
        if let Some(id) = self.ids.get(&number) {
            return Ok(Value::Reference(*id));
        }
        let id = self.objects.len();
        self.objects.push(Object::Unfinished);
        self.ids.insert(number, id);
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            let reason = format!("its values are nested more than {MAX_NESTING} levels deep");
            return Err(damaged(reason));
        }
        self.objects[id] = read(self)?;
        self.nesting -= 1;
        Ok(Value::Reference(id))
    }

    fn table(&mut self) -> Result<Object, CheckpointError> {
        // A pair has at least eight bytes.
        let count = self.count(8)?;
        // Not reserved: a table may say so many and hold others that say the same.
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.value()?, self.value()?));
        }
        Ok(Object::Table(pairs))
    }

    fn instance(&mut self) -> Result<Object, CheckpointError> {
        let first = self.string()?;
        // Very old files have no version, but begin with the class.
        let class = match first.strip_prefix(b"V ") {
            Some(_) => self.string()?,
            None => first,
        };
        let class = printable(&String::from_utf8_lossy(&class));
        let kind = class.strip_prefix("torch.").unwrap_or_default();
        if let Some(element) = kind.strip_suffix("Storage") {
            return self.storage(element, &class).map(Object::Storage);
        }
        match kind.ends_with("Tensor") {
            true => self.tensor(),
            false => Ok(Object::Instance {
                fields: self.value()?,
                class,
            }),
        }
    }

    fn tensor(&mut self) -> Result<Object, CheckpointError> {
        let axes = usize::try_from(self.int()?).ok();
        let axes = axes.filter(|axes| *axes <= MAX_AXES);
        let axes =
            axes.ok_or_else(|| damaged(format!("a tensor has more than {MAX_AXES} axes")))?;
        let extents = self.longs(axes)?;
        let strides = self.longs(axes)?;
        // Counted from 1; an empty tensor may have 0.
        let offset = self.longs(1)?[0].saturating_sub(1);
        let storage = match self.value()? {
            Value::Reference(id) => Some(id),
            _ => None,
        };
        Ok(Object::Tensor {
            extents,
            strides,
            offset,
            storage,
        })
    }

    fn storage(&mut self, element: &str, class: &str) -> Result<Numbers, CheckpointError> {
        let element = element.strip_prefix("Cuda").unwrap_or(element);
        let count = self.longs(1)?[0] as u64;
        let size = match element {
            // `torch.CudaStorage` is single precision.
            "Float" | "" | "Int" => 4,
            "Double" => 8,
            "Long" => self.long as u64,
            "Half" | "Short" => 2,
            "Byte" | "Char" => 1,
            _ => return Err(damaged(format!("{class} is no known class of numbers"))),
        };
        let bytes = count
            .checked_mul(size)
            .filter(|bytes| *bytes <= self.remaining);
        let bytes = bytes.ok_or_else(|| {
            let remaining = self.remaining;
            damaged(format!("{class} of {count} numbers in {remaining} bytes"))
        })?;
        let mut data = memory::zeros::<u8>(bytes as usize)?;
        self.fill(&mut data)?;
        Ok(match element {
            "Float" | "" => Numbers::Single(collect(&data, f32::from_le_bytes)),
            "Double" => Numbers::Double(collect(&data, f64::from_le_bytes)),
            "Half" => Numbers::Single(collect(&data, |b| half::f16::from_le_bytes(b).to_f32())),
            "Byte" => Numbers::Single(collect(&data, |b| u8::from_le_bytes(b).into())),
            "Char" => Numbers::Single(collect(&data, |b| i8::from_le_bytes(b).into())),
            "Short" => Numbers::Single(collect(&data, |b| i16::from_le_bytes(b).into())),
            _ if size == 4 => Numbers::Double(collect(&data, |b| i32::from_le_bytes(b).into())),
            _ => Numbers::Double(collect(&data, |b| i64::from_le_bytes(b) as f64)),
        })
    }

    /// Compiled code, and the values that it refers to. It is skipped, not run.
    fn function(&mut self) -> Result<(), CheckpointError> {
        self.string()?;
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(damaged("its functions are nested too deep".to_owned()));
        }
        self.value()?;
        self.nesting -= 1;
        Ok(())
    }

    fn string(&mut self) -> Result<Vec<u8>, CheckpointError> {
        let len = self.count(1)?;
        let mut bytes = memory::zeros(len)?;
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A number of things that have at least `least` bytes each.
    fn count(&mut self, least: u64) -> Result<usize, CheckpointError> {
        let count = self.int()?;
        let fits = |count: &usize| (*count as u64).saturating_mul(least) <= self.remaining;
        let fitting = usize::try_from(count).ok().filter(fits);
        fitting.ok_or_else(|| {
            let remaining = self.remaining;
            damaged(format!("it says {count} where {remaining} bytes are left"))
        })
    }

    fn int(&mut self) -> Result<i32, CheckpointError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// Longs that are not negative.
    fn longs(&mut self, count: usize) -> Result<Vec<usize>, CheckpointError> {
        let long = |parser: &mut Self| {
            let value = match parser.long {
                4 => parser.int()?.into(),
                _ => i64::from_le_bytes(parser.array()?),
            };
            usize::try_from(value)
                .map_err(|_| damaged(format!("a tensor or storage has the extent {value}")))
        };
        (0..count).map(|_| long(self)).collect()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        let remaining = self.remaining.checked_sub(bytes.len() as u64);
        self.remaining = remaining.ok_or_else(|| damaged("it ends within a value".to_owned()))?;
        self.reader.read_exact(bytes).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a file whose value is a storage.
    fn storage(class: &str, count: i64, data: &[u8]) -> Result<Vec<f64>, CheckpointError> {
        let text = |text: &str| [&(text.len() as i32).to_le_bytes(), text.as_bytes()].concat();
        let kind_and_number = [4i32, 1].map(i32::to_le_bytes).concat();
        let (version, class, count) = (text("V 1"), text(class), count.to_le_bytes());
        let bytes = [&kind_and_number, &version, &class, &count[..], data].concat();
        let read = File::read(&mut &bytes[..], bytes.len() as u64, 8);
        let mut objects = read.map_err(|(error, _)| error)?.objects;
        Ok(match objects.pop() {
            Some(Object::Storage(Numbers::Single(values))) => {
                values.into_iter().map(f64::from).collect()
            }
            Some(Object::Storage(Numbers::Double(values))) => values,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn storages_of_every_class_are_read() {
        let half = [1.5f32, -2.0].map(|value| half::f16::from_f32(value).to_le_bytes());
        let single = [1.5f32, -2.0].map(f32::to_le_bytes);
        let double = [1.5f64, -2.0].map(f64::to_le_bytes);
        for (class, data, expected) in [
            ("Float", single.concat(), [1.5, -2.0]),
            ("Cuda", single.concat(), [1.5, -2.0]),
            ("Double", double.concat(), [1.5, -2.0]),
            ("CudaDouble", double.concat(), [1.5, -2.0]),
            ("Half", half.concat(), [1.5, -2.0]),
            ("CudaHalf", half.concat(), [1.5, -2.0]),
            (
                "Long",
                [1 << 40, -2i64].map(i64::to_le_bytes).concat(),
                [1_099_511_627_776.0, -2.0],
            ),
            (
                "Int",
                [70_000i32, -2].map(i32::to_le_bytes).concat(),
                [70_000.0, -2.0],
            ),
            (
                "Short",
                [200i16, -2].map(i16::to_le_bytes).concat(),
                [200.0, -2.0],
            ),
            ("Char", vec![200, 254], [-56.0, -2.0]),
            ("Byte", vec![200, 254], [200.0, 254.0]),
        ] {
            let class = format!("torch.{class}Storage");
            assert_eq!(storage(&class, 2, &data).unwrap(), expected, "{class}");
        }
    }

    #[test]
    fn booleans_are_read() {
        for (number, expected) in [(0i32, false), (1, true)] {
            let bytes = [5, number].map(i32::to_le_bytes).concat();
            let read =
                File::read(&mut &bytes[..], 8, 8).unwrap_or_else(|(error, _)| panic!("{error}"));
            assert_eq!(read.root, Value::Boolean(expected));
        }
    }

    #[test]
    fn storages_that_cannot_be_read_are_refused() {
        let error =
            |class, count, data: &[u8]| storage(class, count, data).unwrap_err().to_string();
        assert!(error("torch.QIntStorage", 1, &[0; 4]).contains("no known class of numbers"));
        assert!(error("torch.HalfStorage", 2, &[0; 3]).contains("2 numbers in 3 bytes"));
        assert!(error("torch.HalfStorage", 2, &[0; 5]).contains("1 bytes follow"));
        assert!(error("torch.LongStorage", -1, &[]).contains("extent -1"));
        assert!(error("torch.LongStorage", i64::MAX, &[]).contains("numbers in 0 bytes"));
    }
}
