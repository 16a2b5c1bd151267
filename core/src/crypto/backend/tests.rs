//! Both backends against each other, whatever they are given.

use curve25519_dalek::constants::EIGHT_TORSION;
use proptest::prelude::*;

use super::{Backend, Length, Libsodium, Pure, KEY, NONCE, SIGNING, TAG};
use crate::crypto::encrypt::nonce;
use crate::crypto::{EncryptKeyPair, PublicEncryptKey, Seed};

fn signing_pair<B: Backend>(seed: &[u8; KEY]) -> ([u8; KEY], [u8; SIGNING]) {
    let mut secret = [0; SIGNING];
    (B::signing_pair(seed, &mut secret), secret)
}

fn box_pair<B: Backend>(seed: &[u8; KEY]) -> ([u8; KEY], [u8; KEY]) {
    let mut secret = [0; KEY];
    (B::box_pair(seed, &mut secret), secret)
}

fn box_key<B: Backend>(public: &[u8; KEY], secret: &[u8; KEY]) -> Option<[u8; KEY]> {
    let mut key = [0; KEY];
    B::box_key(public, secret, &mut key).then_some(key)
}

fn secretbox<B: Backend>(content: &[u8], nonce: &[u8; NONCE], key: &[u8; KEY]) -> Vec<u8> {
    let mut content = content.to_vec();
    let tag = B::secretbox_seal(&mut content, nonce, key);
    [&tag[..], &content].concat()
}

/// What is in the box, or what is in its place where it does not open.
fn secretbox_open<B: Backend>(
    sealed: &[u8],
    nonce: &[u8; NONCE],
    key: &[u8; KEY],
) -> (bool, Vec<u8>) {
    let (tag, content) = sealed.split_first_chunk::<TAG>().unwrap();
    let mut content = content.to_vec();
    (B::secretbox_open(&mut content, tag, nonce, key), content)
}

fn aead<B: Backend>(content: &[u8], place: &[u8], nonce: &[u8; NONCE], key: &[u8; KEY]) -> Vec<u8> {
    let mut content = content.to_vec();
    let tag = B::aead_seal(&mut content, place, nonce, key);
    [&tag[..], &content].concat()
}

fn aead_open<B: Backend>(
    sealed: &[u8],
    place: &[u8],
    nonce: &[u8; NONCE],
    key: &[u8; KEY],
) -> Option<Vec<u8>> {
    let (tag, content) = sealed.split_first_chunk::<TAG>().unwrap();
    let mut content = content.to_vec();
    B::aead_open(&mut content, tag, place, nonce, key).then_some(content)
}

fn stream<B: Backend>(length: usize, nonce: &[u8; NONCE], block: u64, key: &[u8; KEY]) -> Vec<u8> {
    let mut buffer = vec![0; length];
    B::xsalsa20(&mut buffer, nonce, block, key);
    buffer
}

fn blake2b<B: Backend>(length: Length, key: Option<&[u8; KEY]>, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut state = B::blake2b(length, key);
    parts.iter().for_each(|part| B::blake2b_update(&mut state, part));
    let mut digest = vec![0; length as usize];
    B::blake2b_finish(state, &mut digest);
    digest
}

fn argon2id<B: Backend>(
    secret: &[u8],
    salt: &[u8; 16],
    passes: u32,
    memory: usize,
) -> Option<[u8; KEY]> {
    let mut key = [0; KEY];
    B::argon2id(secret, salt, passes, memory, &mut key).then_some(key)
}

/// A sealed box opened with the parts of one backend.
fn open<B: Backend>(sealed: &[u8], pair: &EncryptKeyPair) -> Option<Vec<u8>> {
    let (ephemeral, rest) = sealed.split_first_chunk::<KEY>()?;
    let (tag, content) = rest.split_first_chunk::<TAG>()?;
    let key = box_key::<B>(ephemeral, pair.secret().as_bytes())?;
    let mut content = content.to_vec();
    let nonce = nonce(&PublicEncryptKey::new(*ephemeral), &pair.public());
    B::secretbox_open(&mut content, tag, &nonce, &key).then_some(content)
}

/// What libsodium's own function says of a sealed box, which all others must say, too.
fn check_box(sealed: &[u8], pair: &EncryptKeyPair) -> Option<Vec<u8>> {
    let opened = Libsodium::open(sealed, pair.public().as_bytes(), pair.secret().as_bytes());
    assert_eq!(open::<Libsodium>(sealed, pair), opened);
    assert_eq!(open::<Pure>(sealed, pair), opened);
    assert_eq!(pair.open(sealed).ok(), opened);
    opened
}

proptest! {
    #[test]
    fn sealed_boxes(
        seed: [u8; KEY], ephemeral: [u8; KEY], content: Vec<u8>, bit: prop::sample::Index, cut: prop::sample::Index,
    ) {
        let pair = EncryptKeyPair::from_seed(&Seed::new(seed));
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new(ephemeral));
        let theirs = Libsodium::seal(&content, pair.public().as_bytes());
        let mut ours = pair.public().seal(&content, &ephemeral).unwrap();
        for sealed in [&theirs, &ours] {
            prop_assert_eq!(check_box(sealed, &pair), Some(content.clone()));
            prop_assert_eq!(check_box(&sealed[..cut.index(sealed.len())], &pair), None);
        }
        // The highest bit of the ephemeral key means nothing to X25519, but is hashed.
        let bit = bit.index(ours.len() * 8);
        ours[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(check_box(&ours, &pair), None);
    }

    #[test]
    fn signing(seed: [u8; KEY], message: Vec<u8>) {
        let (public, secret) = signing_pair::<Libsodium>(&seed);
        prop_assert_eq!(signing_pair::<Pure>(&seed), (public, secret));
        let signature = Libsodium::sign(&secret, &message);
        prop_assert_eq!(Pure::sign(&secret, &message), signature);
        prop_assert!(Libsodium::verify(&public, &signature, &message));
    }

    /// Also with a public half that does not belong to the seed.
    #[test]
    fn signing_with_any_secret(
        seed: [u8; KEY], public: [u8; KEY], message: Vec<u8>,
    ) {
        let mut secret = [0; SIGNING];
        secret[..KEY].copy_from_slice(&seed);
        secret[KEY..].copy_from_slice(&public);
        prop_assert_eq!(Pure::sign(&secret, &message), Libsodium::sign(&secret, &message));
    }

    #[test]
    fn keys_of_boxes(seed: [u8; KEY], secret: [u8; KEY], public: [u8; KEY]) {
        let pair = box_pair::<Libsodium>(&seed);
        prop_assert_eq!(box_pair::<Pure>(&seed), pair);
        prop_assert_eq!(Pure::box_public(&secret), Libsodium::box_public(&secret));
        for public in [public, pair.0] {
            let key = box_key::<Libsodium>(&public, &secret);
            prop_assert!(key.is_some());
            prop_assert_eq!(box_key::<Pure>(&public, &secret), key);
        }
    }

    #[test]
    fn boxes(
        content: Vec<u8>, nonce: [u8; NONCE], key: [u8; KEY], bit: prop::sample::Index,
    ) {
        let mut sealed = secretbox::<Libsodium>(&content, &nonce, &key);
        prop_assert_eq!(&secretbox::<Pure>(&content, &nonce, &key), &sealed);
        prop_assert_eq!(secretbox_open::<Pure>(&sealed, &nonce, &key), (true, content));
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        let expected = (false, sealed[TAG..].to_vec());
        prop_assert_eq!(&secretbox_open::<Libsodium>(&sealed, &nonce, &key), &expected);
        prop_assert_eq!(secretbox_open::<Pure>(&sealed, &nonce, &key), expected);
    }

    #[test]
    fn boxes_bound_to_a_place(
        content: Vec<u8>, place: Vec<u8>, nonce: [u8; NONCE], key: [u8; KEY], bit: prop::sample::Index,
    ) {
        let mut sealed = aead::<Libsodium>(&content, &place, &nonce, &key);
        prop_assert_eq!(&aead::<Pure>(&content, &place, &nonce, &key), &sealed);
        prop_assert_eq!(aead_open::<Pure>(&sealed, &place, &nonce, &key), Some(content));
        let elsewhere = [&place[..], b"x"].concat();
        prop_assert_eq!(aead_open::<Pure>(&sealed, &elsewhere, &nonce, &key), None);
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(aead_open::<Libsodium>(&sealed, &place, &nonce, &key), None);
        prop_assert_eq!(aead_open::<Pure>(&sealed, &place, &nonce, &key), None);
    }

    #[test]
    fn key_stream(
        length in 0..2000_usize, nonce: [u8; NONCE], key: [u8; KEY],
        // Also where the counter's lower half overflows.
        block in prop_oneof![0..100_u64, (1_u64 << 32) - 20..(1_u64 << 32) + 20, any::<u64>().prop_map(|any| any >> 1)],
    ) {
        prop_assert_eq!(
            stream::<Pure>(length, &nonce, block, &key),
            stream::<Libsodium>(length, &nonce, block, &key)
        );
    }

    #[test]
    fn hashes(parts in prop::collection::vec(any::<Vec<u8>>(), 0..5), key: Option<[u8; KEY]>) {
        for length in [Length::Nonce, Length::Digest] {
            prop_assert_eq!(
                blake2b::<Pure>(length, key.as_ref(), &parts),
                blake2b::<Libsodium>(length, key.as_ref(), &parts)
            );
        }
    }
}

/// Every length around the blocks of ciphers, authenticators and hashes, and some kilobytes, which vector instructions take
/// several blocks of at a time.
#[test]
fn every_length() {
    let (nonce, key) = ([3; NONCE], [5; KEY]);
    let (_, signing) = signing_pair::<Pure>(&[7; KEY]);
    for length in (0..520).chain([1023, 4096, 4097, 65_537]) {
        let text: Vec<u8> = (0..length).map(|at: usize| (at * at + at / 251) as u8).collect();
        let sealed = secretbox::<Libsodium>(&text, &nonce, &key);
        assert!(secretbox::<Pure>(&text, &nonce, &key) == sealed, "{length}");
        let sealed = aead::<Libsodium>(&text, &text, &nonce, &key);
        assert!(aead::<Pure>(&text, &text, &nonce, &key) == sealed, "{length}");
        let signature = Libsodium::sign(&signing, &text);
        assert_eq!(Pure::sign(&signing, &text), signature, "{length}");
        let parts = [text];
        for key in [None, Some(&key)] {
            let digest = blake2b::<Libsodium>(Length::Digest, key, &parts);
            assert_eq!(blake2b::<Pure>(Length::Digest, key, &parts), digest, "{length}");
        }
    }
}

/// Points of low order in every form, and their neighbours: refused by both, or by none.
#[test]
fn public_keys_of_low_order() {
    let mut points: Vec<[u8; KEY]> =
        EIGHT_TORSION.iter().map(|point| point.to_montgomery().to_bytes()).collect();
    // From here on the numbers are not reduced: 2^255 - 19 and a few beside it.
    for low in 0xe0..=0xff {
        let mut point = [0xff; KEY];
        (point[0], point[KEY - 1]) = (low, 0x7f);
        points.push(point);
    }
    for low in 0..32 {
        let mut point = [0; KEY];
        point[0] = low;
        points.push(point);
    }
    let mut refused = 0;
    for point in points {
        // The highest bit means nothing.
        for high in [0, 0x80] {
            let mut point = point;
            point[KEY - 1] |= high;
            for secret in [[0; KEY], [0xff; KEY], [0x55; KEY], [1; KEY]] {
                let key = box_key::<Libsodium>(&point, &secret);
                assert_eq!(box_key::<Pure>(&point, &secret), key, "{point:02x?}");
                refused += usize::from(key.is_none());
                let pair = EncryptKeyPair::from_seed(&Seed::new(secret));
                assert_eq!(check_box(&[&point[..], &[0; 20]].concat(), &pair), None);
            }
        }
    }
    // Eight points as a Montgomery curve has them: 0 (three times), 1 and -1 (twice each), and two of order 8 (four).
    assert!(refused >= 7 * 2 * 4, "{refused}");
}

#[test]
fn stretching() {
    let salt = [9; 16];
    for secret in [&b""[..], b"secret", &[0xaa; 300]] {
        for (passes, memory) in [(1, 8192), (1, 9215), (3, 9216), (2, 65_536), (4, 100_000)] {
            let key = argon2id::<Libsodium>(secret, &salt, passes, memory);
            assert!(key.is_some());
            assert_eq!(argon2id::<Pure>(secret, &salt, passes, memory), key, "{passes} {memory}");
        }
        for (passes, memory) in [(0, 8192), (1, 0), (1, 1024), (1, 8191)] {
            assert_eq!(argon2id::<Libsodium>(secret, &salt, passes, memory), None);
            assert_eq!(argon2id::<Pure>(secret, &salt, passes, memory), None);
        }
    }
}
