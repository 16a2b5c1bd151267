//! Both backends of the cryptography, libsodium and Rust alone, given the same: they must make the same bytes, and take and
//! refuse the same.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar};
use pet_core::crypto::backend::{Backend, Length, Libsodium, Pure, KEY, NONCE, SIGNING, TAG};
use pet_core::crypto::{
    is_eligible, verify_all, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, SecretEncryptKey,
    Seed, Signature, Signed, SigningKeyPair,
};
use sha2::{Digest, Sha512};

/// The first byte says what is done, what follows is keys, nonces, and the rest as a text. What is missing is zeros.
pub fn backends(data: &[u8]) {
    let [what, rest @ ..] = data else { return };
    let mut bytes = Bytes(rest);
    match what % 9 {
        0 => sign(&mut bytes),
        1 => verify(&mut bytes),
        2 => verify_near(&mut bytes),
        3 => keys(&mut bytes),
        4 => open(&mut bytes),
        5 => seal(&mut bytes),
        6 => symmetric(&mut bytes),
        7 => hash(&mut bytes),
        _ => verify_dishonest(&mut bytes),
    }
}

/// What is left of an input.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        taken[..head.len()].copy_from_slice(head);
        self.0 = rest;
        taken
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// What is signed, by a pair and by whatever else has a secret key's length, and who may do what with it.
fn sign(bytes: &mut Bytes<'_>) {
    let (seed, other) = (bytes.take(), bytes.take::<KEY>());
    let threshold = f64::from_le_bytes(bytes.take());
    let message = bytes.rest();
    let (mut ours, mut theirs) = ([0; SIGNING], [0; SIGNING]);
    let public = Libsodium::signing_pair(&seed, &mut theirs);
    assert_eq!(Pure::signing_pair(&seed, &mut ours), public);
    assert_eq!(ours, theirs);
    let signature = Libsodium::sign(&theirs, message);
    assert_eq!(Pure::sign(&theirs, message), signature);
    check_verdict(public, signature, message, Some(true));
    let eligible = is_eligible(&Signature::new(signature), threshold);
    let again = SigningKeyPair::from_seed(&Seed::new(seed)).sign(message);
    assert_eq!(is_eligible(&again, threshold), eligible);

    theirs[KEY..].copy_from_slice(&other);
    assert_eq!(Pure::sign(&theirs, message), Libsodium::sign(&theirs, message));
}

/// Any key, any signature.
fn verify(bytes: &mut Bytes<'_>) {
    let (key, signature) = (bytes.take(), bytes.take());
    check_verdict(key, signature, bytes.rest(), None);
}

/// An honest key and signature with some of the bytes changed, anywhere.
fn verify_near(bytes: &mut Bytes<'_>) {
    let seed = bytes.take();
    let changes: [u8; 12] = bytes.take();
    let message = bytes.rest();
    let mut secret = [0; SIGNING];
    let mut key = Libsodium::signing_pair(&seed, &mut secret);
    let mut signature = Libsodium::sign(&secret, message);
    for change in changes.chunks_exact(2) {
        let at = usize::from(change[0]) % (KEY + 64);
        match at.checked_sub(KEY) {
            None => key[at] ^= change[1],
            Some(at) => signature[at] ^= change[1],
        }
    }
    check_verdict(key, signature, message, None);
}

/// The signature of somebody who knows what honest people do not do: point and key may have parts of low order, or be
/// nothing else, with a wrong sign, and the number fits the rest of them.
fn verify_dishonest(bytes: &mut Bytes<'_>) {
    let [how, torsion_r, torsion_a] = bytes.take();
    let is = |bit: u8| how >> bit & 1 == 1;
    let mut number = |is_zero| match (Scalar::from_bytes_mod_order(bytes.take()), is_zero) {
        (_, true) => Scalar::ZERO,
        (number, false) => number,
    };
    let (r, a) = (number(is(0)), number(is(1)));
    let message = bytes.rest();
    let point = |number: &Scalar, torsion: u8, sign: bool| {
        let torsion = EIGHT_TORSION[usize::from(torsion % 8)];
        let mut bytes = (EdwardsPoint::mul_base(number) + torsion).compress().to_bytes();
        bytes[KEY - 1] ^= u8::from(sign) << 7;
        bytes
    };
    let (point, key) = (point(&r, torsion_r, is(2)), point(&a, torsion_a, is(3)));
    let hash = Sha512::new().chain_update(point).chain_update(key).chain_update(message);
    let h = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let mut signature = [0; 64];
    signature[..KEY].copy_from_slice(&point);
    signature[KEY..].copy_from_slice((r + h * a).as_bytes());
    check_verdict(key, signature, message, None);
}

/// Inputs for a corpus: some of everything, and keys and signatures that libraries disagree about.
pub fn examples() -> Vec<(String, Vec<u8>)> {
    let mut examples = Vec::new();
    let mut add = |name: String, what: u8, parts: &[&[u8]]| {
        examples.push((name, [&[what][..], &parts.concat()].concat()));
    };
    let (some, other, text) = ([7; KEY], [0xa1; KEY], &b"what is signed, sealed or hashed"[..]);
    let half = 0.5_f64.to_le_bytes();
    add("sign".into(), 0, &[&some, &other, &half, text]);
    add("verify".into(), 1, &[&some, &[2; 64], text]);
    add("verify-nothing-changed".into(), 2, &[&some, &[0; 12], text]);
    add("verify-key-changed".into(), 2, &[&some, &[31, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], text]);
    add("verify-number-changed".into(), 2, &[&some, &[95, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]);
    add("keys".into(), 3, &[&some, &other, &some]);
    add(
        "open".into(),
        4,
        &[&some, &seal_with::<Pure>(text, &Pure::box_public(&some), &other).unwrap()],
    );
    add("seal".into(), 5, &[&some, &other, &some, &[3, 1, 9], text]);
    add("symmetric".into(), 6, &[&some, &[5; NONCE], &[6; TAG], &[0; 8], &[4], text]);
    add(
        "symmetric-counter".into(),
        6,
        &[&some, &[5; NONCE], &[6; TAG], &[0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 0], &[4], &[1; 300]],
    );
    add("hash".into(), 7, &[&some, &[9; TAG], &[13, 1, 8], text]);
    add("hash-without-key".into(), 7, &[&some, &[9; TAG], &[14, 2, 31], text]);
    // Beyond the prime, and zero with a sign.
    for (name, low, rest, top) in [
        ("zero", 0, 0, 0),
        ("one", 1, 0, 0),
        ("minus-zero", 0, 0, 0x80),
        ("minus-one-in-y", 0xec, 0xff, 0x7f),
        ("prime", 0xed, 0xff, 0x7f),
        ("prime-and-one", 0xee, 0xff, 0x7f),
        ("prime-and-three", 0xf0, 0xff, 0xff),
    ] {
        let mut point = [rest; KEY];
        (point[0], point[KEY - 1]) = (low, top);
        add(format!("keys-{name}"), 3, &[&some, &other, &point]);
        add(format!("verify-key-{name}"), 1, &[&point, &point, &[0; KEY], text]);
        add(format!("verify-point-{name}"), 1, &[&some, &point, &[0; KEY], text]);
    }
    for (how, torsion_r, torsion_a) in [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (0, 3, 5),
        (1, 0, 4),
        (1, 0, 0),
        (2, 0, 2),
        (3, 0, 0),
        (4, 0, 0),
        (8, 2, 6),
    ] {
        let name = format!("dishonest-{how}-{torsion_r}-{torsion_a}");
        add(name, 8, &[&[how, torsion_r, torsion_a], &some, &other, text]);
    }
    examples
}

/// libsodium's verdict is ours, of one signature and of several at the same time.
fn check_verdict(key: [u8; KEY], signature: [u8; 64], message: &[u8], expected: Option<bool>) {
    let verdict = Libsodium::verify(&key, &signature, message);
    assert_eq!(verdict, expected.unwrap_or(verdict));
    let signed =
        Signed { key: PublicSigningKey::new(key), signature: Signature::new(signature), message };
    assert_eq!(signed.is_right(), verdict);
    assert_eq!(verify_all(&[signed; 4]), [verdict; 4]);
}

/// Pairs, and what two of them have in common, whatever the public key is.
fn keys(bytes: &mut Bytes<'_>) {
    let (seed, secret, public) = (bytes.take(), bytes.take(), bytes.take());
    let (mut ours, mut theirs) = ([0; KEY], [0; KEY]);
    assert_eq!(Pure::box_pair(&seed, &mut ours), Libsodium::box_pair(&seed, &mut theirs));
    assert_eq!(ours, theirs);
    assert_eq!(Pure::box_public(&secret), Libsodium::box_public(&secret));
    let common = box_key::<Libsodium>(&public, &secret);
    assert_eq!(box_key::<Pure>(&public, &secret), common);
    assert_eq!(PublicEncryptKey::new(public).is_weak(), common.is_none());
}

fn box_key<B: Backend>(public: &[u8; KEY], secret: &[u8; KEY]) -> Option<[u8; KEY]> {
    let mut key = [0; KEY];
    B::box_key(public, secret, &mut key).then_some(key)
}

/// Sealed boxes as they come: libsodium's own function, and what is put together of either's parts.
fn open(bytes: &mut Bytes<'_>) {
    let secret = bytes.take();
    check_box(&secret, bytes.rest());
}

fn check_box(secret: &[u8; KEY], sealed: &[u8]) -> Option<Vec<u8>> {
    let public = Libsodium::box_public(secret);
    let opened = Libsodium::open(sealed, &public, secret);
    assert_eq!(open_with::<Libsodium>(sealed, &public, secret), opened);
    assert_eq!(open_with::<Pure>(sealed, &public, secret), opened);
    let pair = EncryptKeyPair::from_secret(SecretEncryptKey::new(*secret));
    assert_eq!(pair.open(sealed).ok(), opened);
    opened
}

fn open_with<B: Backend>(sealed: &[u8], public: &[u8; KEY], secret: &[u8; KEY]) -> Option<Vec<u8>> {
    let (ephemeral, rest) = sealed.split_first_chunk::<KEY>()?;
    let (tag, content) = rest.split_first_chunk::<TAG>()?;
    let key = box_key::<B>(ephemeral, secret)?;
    let mut content = content.to_vec();
    let nonce = nonce::<B>(ephemeral, public);
    B::secretbox_open(&mut content, tag, &nonce, &key).then_some(content)
}

fn nonce<B: Backend>(ephemeral: &[u8; KEY], recipient: &[u8; KEY]) -> [u8; NONCE] {
    let (mut state, mut nonce) = (B::blake2b(Length::Nonce, None), [0; NONCE]);
    B::blake2b_update(&mut state, ephemeral);
    B::blake2b_update(&mut state, recipient);
    B::blake2b_finish(state, &mut nonce);
    nonce
}

/// Sealed boxes for any public key; then damaged, cut off, and opened.
fn seal(bytes: &mut Bytes<'_>) {
    let (secret, ephemeral, public) = (bytes.take(), bytes.take(), bytes.take());
    let [at, change, cut] = bytes.take();
    let content = bytes.rest();
    let pair = EncryptKeyPair::from_secret(SecretEncryptKey::new(ephemeral));
    for recipient in [public, Libsodium::box_public(&secret)] {
        let sealed = seal_with::<Libsodium>(content, &recipient, &ephemeral);
        assert_eq!(seal_with::<Pure>(content, &recipient, &ephemeral), sealed);
        assert_eq!(PublicEncryptKey::new(recipient).seal(content, &pair).ok(), sealed);
        let Some(mut sealed) = sealed else { continue };
        let opened = check_box(&secret, &sealed);
        assert!(recipient == public || opened.as_deref() == Some(content));
        let at = usize::from(at) % sealed.len();
        sealed[at] ^= change;
        check_box(&secret, &sealed);
        check_box(&secret, &sealed[..sealed.len() - usize::from(cut) % sealed.len()]);
    }
}

fn seal_with<B: Backend>(
    content: &[u8],
    recipient: &[u8; KEY],
    ephemeral: &[u8; KEY],
) -> Option<Vec<u8>> {
    let key = box_key::<B>(recipient, ephemeral)?;
    let public = B::box_public(ephemeral);
    let mut content = content.to_vec();
    let tag = B::secretbox_seal(&mut content, &nonce::<B>(&public, recipient), &key);
    Some([&public[..], &tag, &content].concat())
}

/// Boxes with a key that both have, and the key stream.
fn symmetric(bytes: &mut Bytes<'_>) {
    let (key, nonce, tag) = (bytes.take(), bytes.take(), bytes.take());
    let block = u64::from_le_bytes(bytes.take()) >> 1;
    let [length] = bytes.take();
    let rest = bytes.rest();
    let (place, content) = rest.split_at(usize::from(length).min(rest.len()));
    let (mut ours, mut theirs) = (content.to_vec(), content.to_vec());

    Pure::xsalsa20(&mut ours, &nonce, block, &key);
    Libsodium::xsalsa20(&mut theirs, &nonce, block, &key);
    assert_eq!(ours, theirs);

    let right = Libsodium::secretbox_seal(&mut theirs, &nonce, &key);
    assert_eq!(Pure::secretbox_seal(&mut ours, &nonce, &key), right);
    assert_eq!(ours, theirs);
    for tag in [tag, right] {
        let opens = Libsodium::secretbox_open(&mut theirs, &tag, &nonce, &key);
        assert_eq!(Pure::secretbox_open(&mut ours, &tag, &nonce, &key), opens);
        assert_eq!(ours, theirs);
    }

    let right = Libsodium::aead_seal(&mut theirs, place, &nonce, &key);
    assert_eq!(Pure::aead_seal(&mut ours, place, &nonce, &key), right);
    assert_eq!(ours, theirs);
    for tag in [tag, right] {
        let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
        let opens = Libsodium::aead_open(&mut theirs, &tag, place, &nonce, &key);
        assert_eq!(Pure::aead_open(&mut ours, &tag, place, &nonce, &key), opens);
        assert!(!opens || ours == theirs);
    }
}

/// BLAKE2b in two pieces, and, of few bytes of memory, Argon2id.
fn hash(bytes: &mut Bytes<'_>) {
    let (key, salt) = (bytes.take(), bytes.take());
    let [how, passes, kibibytes] = bytes.take();
    let text = bytes.rest();
    let (first, second) = text.split_at(usize::from(how >> 2).min(text.len()));
    let length = if how & 1 == 0 { Length::Nonce } else { Length::Digest };
    let key = (how & 2 == 0).then_some(&key);
    assert_eq!(
        digest::<Pure>(length, key, [first, second]),
        digest::<Libsodium>(length, key, [first, second])
    );
    let (passes, memory) = (u32::from(passes % 3), usize::from(kibibytes % 32) << 10);
    let (mut ours, mut theirs) = ([0; KEY], [0; KEY]);
    let stretched = Libsodium::argon2id(text, &salt, passes, memory, &mut theirs);
    assert_eq!(Pure::argon2id(text, &salt, passes, memory, &mut ours), stretched);
    assert!(!stretched || ours == theirs);
}

fn digest<B: Backend>(length: Length, key: Option<&[u8; KEY]>, parts: [&[u8]; 2]) -> Vec<u8> {
    let mut state = B::blake2b(length, key);
    parts.iter().for_each(|part| B::blake2b_update(&mut state, part));
    let mut digest = vec![0; length as usize];
    B::blake2b_finish(state, &mut digest);
    digest
}
