//! Records read back, and no bytes break the decoder.

use proptest::prelude::*;
use redis_trace_common::layout::Field as _;
use redis_trace_common::record::*;

#[test]
fn a_record_of_each_kind_reads_back_from_zeroes_behind_its_number() {
    for number in Number::ALL {
        let mut bytes = [0; 2048];
        bytes[..4].copy_from_slice(&(*number as u32).to_ne_bytes());
        assert!(Record::decode(&bytes).is_ok(), "{}", number.name());
    }
}

#[test]
fn a_field_is_read_where_the_probe_wrote_it() {
    let mut bytes = [0; OomVictim::SIZE];
    bytes[..4].copy_from_slice(&(Number::OomVictim as u32).to_ne_bytes());
    bytes[8..16].copy_from_slice(&7_u64.to_ne_bytes());
    bytes[16..20].copy_from_slice(&4242_u32.to_ne_bytes());
    let Ok(Record::OomVictim(record)) = Record::decode(&bytes) else { panic!("another record") };
    assert_eq!((record.time, record.pid), (7, 4242));
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..1024), number in 0_u32..20) {
        let mut bytes: Vec<u8> = bytes;
        if let Some(head) = bytes.get_mut(..4) {
            head.copy_from_slice(&number.to_ne_bytes());
        }
        let is_known = Number::ALL.iter().any(|known| *known as u32 == number);
        prop_assert!(is_known || bytes.len() < 4 || Record::decode(&bytes) == Err(DecodeError::Unknown(number)));
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
        }
    }
}
