//! Ranges of a tree, both ways; and a key of several parts, of which one is a prefix to look for.

use bytemuck::{Pod, Zeroable};
use pmem_collections::*;

/// When which sensor measured: the sensor first, so that a range is one sensor's measurements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
struct Measurement {
    sensor: u32,
    minute: u32,
}
impl Plain for Measurement {
    const NAME: &'static str = "ranges.Measurement";
}

const SQUARES: Named<PBTreeMap<u64, u64>> = Named::new("squares");
const CELSIUS: Named<PBTreeMap<Measurement, f64>> = Named::new("celsius");

fn main() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let mut squares = tx.open(SQUARES)?;
        for i in 0..100 {
            squares.insert(i, i * i)?;
        }
        let mut celsius = tx.open(CELSIUS)?;
        for (sensor, minute, value) in [(2, 0, 4.5), (1, 5, 21.0), (1, 0, 20.5), (1, 10, 22.0)] {
            celsius.insert(Measurement { sensor, minute }, value)?;
        }
        Ok(())
    })?;

    let tx = pool.read()?;
    let squares = tx.open(SQUARES)?;
    let up = squares.range(10..=12)?.collect::<Result<Vec<_>>>()?;
    assert_eq!(up, [(&10, &100), (&11, &121), (&12, &144)]);
    let down = squares.range(..)?.rev().take(2).collect::<Result<Vec<_>>>()?;
    assert_eq!(down, [(&99, &9801), (&98, &9604)]);

    let celsius = tx.open(CELSIUS)?;
    let of_sensor = |sensor| Measurement { sensor, minute: 0 }..=Measurement { sensor, minute: u32::MAX };
    for item in celsius.range(of_sensor(1))? {
        let (measurement, value) = item?;
        println!("minute {:>2}: {value} degrees", measurement.minute);
    }
    assert_eq!(celsius.range(of_sensor(1))?.count(), 3);
    assert_eq!(celsius.last()?.map(|(_, value)| value), Some(&4.5));
    Ok(())
}
