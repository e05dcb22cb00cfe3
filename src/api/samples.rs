//! Samples in JSON, which has no word for what is not a finite number: those become the texts `NaN`, `inf` and
//! `-inf` instead of a `null` that could not be read back.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(samples: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(samples.len()))?;
    for sample in samples {
        if sample.is_finite() {
            sequence.serialize_element(sample)?;
        } else {
            sequence.serialize_element(&sample.to_string())?;
        }
    }
    sequence.end()
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    deserializer.deserialize_seq(Samples)
}

struct Samples;

impl<'de> Visitor<'de> for Samples {
    type Value = Vec<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<f64>, A::Error> {
        let mut samples = Vec::with_capacity(sequence.size_hint().unwrap_or(0).min(4096));
        while let Some(Sample(value)) = sequence.next_element()? {
            samples.push(value);
        }
        Ok(samples)
    }
}

struct Sample(f64);

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sample, D::Error> {
        deserializer.deserialize_any(OneSample).map(Sample)
    }
}

struct OneSample;

impl Visitor<'_> for OneSample {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or one of the texts `NaN`, `inf` and `-inf`")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "NaN" => Ok(f64::NAN),
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::api::{Benchmark, Better};

    fn series(samples: &[f64]) -> Benchmark {
        let (name, unit) = ("x".to_owned(), "ns".to_owned());
        Benchmark { name, unit, better: Better::Lower, warmup: vec![], samples: samples.to_vec() }
    }

    #[test]
    fn every_sample_comes_back_bit_for_bit() {
        let samples = [
            0.1,
            -0.0,
            5e-324,
            f64::MAX,
            1.0 / 3.0,
            123_456_789.123_456_78,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        let text = serde_json::to_string(&series(&samples)).unwrap();
        let back: Benchmark = serde_json::from_str(&text).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back.samples), bits(&samples), "{text}");
    }

    #[test]
    fn what_is_not_a_number_stays_not_a_number() {
        let text = serde_json::to_string(&series(&[f64::NAN, 1.0])).unwrap();
        assert!(text.contains(r#"["NaN",1.0]"#), "{text}");
        assert!(serde_json::from_str::<Benchmark>(&text).unwrap().samples[0].is_nan());
    }

    #[test]
    fn whole_numbers_are_taken_and_other_texts_refused() {
        let with = |samples: &str| {
            serde_json::from_str::<Benchmark>(&format!(
                r#"{{"name":"x","unit":"ns","better":"lower","samples":{samples}}}"#
            ))
        };
        assert_eq!(with("[1, -2]").unwrap().samples, [1.0, -2.0]);
        assert!(with(r#"["fast"]"#).is_err());
    }
}
