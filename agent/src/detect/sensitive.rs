//! Which scalars of a body are personal or secret data: by the name of the field and
//! by the form of the value.

use smallvec::SmallVec;

use super::json::{Path, Scalar};
use crate::redact::shape;

/// Longest value that is looked at.
const VALUE_MAX: usize = 4096;
/// Longest name that is known, without its separators.
const NAME_MAX: usize = 32;

/// A kind of sensitive data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Password, or its hash.
    Password,
    /// Secret or key.
    Secret,
    /// Token or session.
    Token,
    /// Payment card number.
    Card,
    /// Card verification code.
    CardCode,
    /// Social security number.
    SocialSecurity,
    /// Number of an identity document.
    Identity,
    /// Bank account.
    Bank,
    /// Date of birth.
    BirthDate,
    /// E-mail address.
    Email,
    /// Phone number.
    Phone,
}

impl Kind {
    /// The words in evidence.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Secret => "secret or key",
            Self::Token => "access token",
            Self::Card => "payment card number",
            Self::CardCode => "card verification code",
            Self::SocialSecurity => "social security number",
            Self::Identity => "identity document number",
            Self::Bank => "bank account number",
            Self::BirthDate => "date of birth",
            Self::Email => "e-mail address",
            Self::Phone => "phone number",
        }
    }

    /// Whether one field of it is enough to be severe.
    pub(super) const fn is_strong(self) -> bool {
        !matches!(self, Self::BirthDate | Self::Email | Self::Phone)
    }

    /// Whether it says who asks, when it comes with a request.
    pub(super) const fn is_credential(self) -> bool {
        matches!(self, Self::Password | Self::Secret | Self::Token)
    }
}

/// What a scalar is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Sensitive data.
    Sensitive(Kind),
    /// Digits that can be a card number, in a field whose name does not say so.
    MaybeCard,
    /// Digits of that length that cannot.
    NotCard,
    /// Nothing of interest.
    Plain,
}

/// Judges one scalar of a response.
pub(super) fn judge(path: &Path<'_>, scalar: Scalar<'_>) -> Verdict {
    let (Scalar::Text(value) | Scalar::Number(value)) = scalar;
    if value.len() < 3 || value.len() > VALUE_MAX {
        return Verdict::Plain;
    }
    let Ok(value) = std::str::from_utf8(value) else { return Verdict::Plain };
    if let Some(kind) = by_name(path.name())
        && !is_masked(value)
        && is_plausible(kind, path.name(), value)
    {
        return Verdict::Sensitive(kind);
    }
    match scalar {
        Scalar::Text(_) => by_form(path, value),
        Scalar::Number(_) => card(path, value),
    }
}

/// What a field of this name holds, whatever its case and separators.
pub(super) fn by_name(name: &[u8]) -> Option<Kind> {
    let name = plain_name(name)?;
    Some(match &*name {
        b"password"
        | b"passwd"
        | b"pwd"
        | b"passphrase"
        | b"userpassword"
        | b"newpassword"
        | b"oldpassword"
        | b"currentpassword"
        | b"passwordhash"
        | b"hashedpassword"
        | b"passwordconfirmation"
        | b"plainpassword"
        | b"dbpassword" => Kind::Password,
        b"secret"
        | b"clientsecret"
        | b"secretkey"
        | b"apisecret"
        | b"appsecret"
        | b"apikey"
        | b"privatekey"
        | b"secretaccesskey"
        | b"awssecretaccesskey"
        | b"encryptionkey"
        | b"signingkey"
        | b"webhooksecret"
        | b"totpsecret"
        | b"mfasecret" => Kind::Secret,
        b"accesstoken"
        | b"refreshtoken"
        | b"authtoken"
        | b"idtoken"
        | b"sessiontoken"
        | b"apitoken"
        | b"bearertoken"
        | b"resettoken"
        | b"passwordresettoken"
        | b"sessionid"
        | b"jwt" => Kind::Token,
        b"creditcard" | b"creditcardnumber" | b"cardnumber" | b"ccnumber" | b"debitcardnumber" => {
            Kind::Card
        }
        b"cvv" | b"cvv2" | b"cvc" | b"cardcvv" | b"cardcvc" | b"securitycode" => Kind::CardCode,
        b"ssn" | b"socialsecurity" | b"socialsecuritynumber" | b"ssnumber" => Kind::SocialSecurity,
        b"passportnumber"
        | b"passportno"
        | b"nationalid"
        | b"nationalidnumber"
        | b"driverslicense"
        | b"driverslicensenumber"
        | b"taxid" => Kind::Identity,
        b"iban" | b"bankaccount" | b"bankaccountnumber" => Kind::Bank,
        b"dateofbirth" | b"dob" | b"birthdate" | b"birthday" => Kind::BirthDate,
        _ => return None,
    })
}

/// A name in small letters, without separators; `None` when it is too long.
pub(super) fn plain_name(name: &[u8]) -> Option<SmallVec<[u8; NAME_MAX]>> {
    let mut plain = SmallVec::new();
    for byte in name {
        match byte {
            b'_' | b'-' | b' ' | b'.' => {}
            _ if plain.len() == NAME_MAX => return None,
            _ => plain.push(byte.to_ascii_lowercase()),
        }
    }
    Some(plain)
}

/// Whether a field named so may hold this value: names are also those of labels in
/// translations, of flags and of examples.
fn is_plausible(kind: Kind, name: &[u8], value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    match kind {
        Kind::Password | Kind::Secret | Kind::Token => {
            let mut letters = value.chars();
            let capitalised =
                letters.next().is_some_and(char::is_uppercase) && letters.all(char::is_lowercase);
            let word = plain_name(value.as_bytes());
            !capitalised
                && value.is_ascii()
                && !value.contains(|c: char| c.is_whitespace() || c == '<' || c == '{')
                && !value.starts_with(['/', '#', '$', '%'])
                && !value.contains("://")
                && word != plain_name(name)
                && !matches!(value, "string" | "text" | "true" | "false" | "null" | "required")
                || value.starts_with("$2") // bcrypt
                || value.starts_with("$argon2")
        }
        Kind::Card => shape::is_card(value),
        Kind::CardCode => digits == value.len() && matches!(digits, 3 | 4),
        Kind::SocialSecurity => {
            shape::is_ssn(value) || digits == value.len() && shape::is_ssn_number(value.as_bytes())
        }
        Kind::Identity => digits >= 5 && value.len() <= 32,
        Kind::Bank => shape::is_iban(value) || digits >= 6 && value.len() <= 42,
        Kind::BirthDate => digits >= 6 && value.len() <= 32,
        Kind::Email | Kind::Phone => true,
    }
}

fn by_form(path: &Path<'_>, value: &str) -> Verdict {
    let kind = if shape::is_email(value) {
        if is_mailbox(value) {
            return Verdict::Plain;
        }
        Kind::Email
    } else if shape::is_e164(value) {
        Kind::Phone
    } else if shape::is_ssn(value) {
        Kind::SocialSecurity
    } else if shape::is_iban(value) {
        Kind::Bank
    } else if shape::vendor(value).is_some() {
        Kind::Secret
    } else if shape::is_jwt(value) {
        Kind::Token
    } else {
        return card(path, value);
    };
    Verdict::Sensitive(kind)
}

/// One number in fifty of the right length passes for a card, so a bare number needs
/// a name or groups of digits to be one.
fn card(path: &Path<'_>, value: &str) -> Verdict {
    if shape::card_digits(value).is_none() {
        return Verdict::Plain;
    }
    if !shape::is_card(value) {
        return Verdict::NotCard;
    }
    let hint = |name: &[u8]| {
        plain_name(name).is_some_and(|name| {
            let has = |part: &[u8]| name.windows(part.len()).any(|slice| slice == part);
            has(b"card") || has(b"payment") || matches!(&*name, b"pan" | b"cc")
        })
    };
    if value.contains([' ', '-']) || path.names().any(hint) {
        Verdict::Sensitive(Kind::Card)
    } else {
        Verdict::MaybeCard
    }
}

/// Whether parts of the value were blotted out already, or it is a placeholder.
fn is_masked(value: &str) -> bool {
    value.contains("**")
        || value.contains("••")
        || value.bytes().all(|byte| matches!(byte, b'x' | b'X' | b'-' | b'.' | b'0'))
        || value.starts_with(['[', '<'])
        || ["redacted", "hidden", "masked", "filtered", "changeme"]
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word))
}

/// The address of an office, not of a person.
fn is_mailbox(value: &str) -> bool {
    const NAMES: [&str; 14] = [
        "support",
        "info",
        "contact",
        "sales",
        "hello",
        "help",
        "noreply",
        "no-reply",
        "office",
        "service",
        "press",
        "security",
        "privacy",
        "webmaster",
    ];
    value
        .split_once('@')
        .is_some_and(|(name, _)| NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::detect::json;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

    fn verdict(text: &str) -> Verdict {
        let mut verdict = Verdict::Plain;
        json::scan(text.as_bytes(), |path, scalar| {
            verdict = judge(path, scalar);
            ControlFlow::Continue(())
        });
        verdict
    }

    #[test]
    fn sensitive_data_is_known_by_name_and_form() {
        for (text, kind) in [
            (r#"{"password":"hunter2"}"#, Kind::Password),
            (r#"{"passwordHash":"$2b$12$abcdefgh"}"#, Kind::Password),
            (r#"{"API-Key":"8f3a9c"}"#, Kind::Secret),
            (r#"{"x":"AKIAIOSFODNN7ABCDEFG"}"#, Kind::Secret),
            (r#"{"access_token":"opaque-1"}"#, Kind::Token),
            (&format!(r#"{{"x":"{JWT}"}}"#), Kind::Token),
            (r#"{"card":{"number":"4111111111111111"}}"#, Kind::Card),
            (r#"{"card":{"number":4111111111111111}}"#, Kind::Card),
            (r#"{"x":"4111 1111 1111 1111"}"#, Kind::Card),
            (r#"{"cvv":123}"#, Kind::CardCode),
            (r#"{"ssn":"123-45-6789"}"#, Kind::SocialSecurity),
            (r#"{"x":"123-45-6789"}"#, Kind::SocialSecurity),
            (r#"{"SSN":123456789}"#, Kind::SocialSecurity),
            (r#"{"iban":"DE89370400440532013000"}"#, Kind::Bank),
            (r#"["GB82 WEST 1234 5698 7654 32"]"#, Kind::Bank),
            (r#"{"dateOfBirth":"1980-02-03"}"#, Kind::BirthDate),
            (r#"{"emails":["alice@example.com"]}"#, Kind::Email),
            (r#"{"x":"+14155552671"}"#, Kind::Phone),
        ] {
            assert_eq!(verdict(text), Verdict::Sensitive(kind), "{text}");
        }
        assert_eq!(verdict(r#"{"n":"4111111111111111"}"#), Verdict::MaybeCard);
        assert_eq!(verdict(r#"{"n":"4111111111111112"}"#), Verdict::NotCard);
    }

    #[test]
    fn lookalikes_are_plain() {
        for text in [
            r#"{"password":""}"#,
            r#"{"password":"Password"}"#,
            r#"{"password":"Passwort"}"#,
            r#"{"access_token":"Access token"}"#,
            r#"{"password":"********"}"#,
            r#"{"secret":"[FILTERED]"}"#,
            r#"{"password":"string"}"#,
            r#"{"password":"/reset"}"#,
            r#"{"password":"$t(login.password)"}"#,
            r#"{"password":{"type":"boolean"}}"#,
            r#"{"hasPassword":"yes","next_page_token":"abcdef"}"#,
            r#"{"credit_card":"visa"}"#,
            r#"{"card_number":"**** 1111"}"#,
            r#"{"dob":"unknown"}"#,
            r#"{"ssn":"000-12-3456"}"#,
            r#"{"id":"3fa85f64-5717-4562-b3fc-2c963f66afa6"}"#,
            r#"{"order":"ORDERNUMBER12345"}"#,
            r#"{"at":1700000000}"#,
            r#"{"package":"@scope/react@18.2.0"}"#,
            r#"{"contact":"support@example.com"}"#,
            r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#,
        ] {
            assert_eq!(verdict(text), Verdict::Plain, "{text}");
        }
    }
}
