//! Why a connection was refused or ended: one closed enum for the log line, the metric label and the MQTT reason code.

/// Why the front door refused or ended a connection, or one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    // Before MQTT.
    /// More connections than `connections_max`.
    ConnectionLimit,
    /// No CONNECT within the deadline that runs from accept.
    ConnectDeadline,
    /// The TLS handshake failed for another reason than the certificate.
    TlsHandshake,
    /// No client certificate.
    CertificateMissing,
    /// The certificate comes from an authority that is not configured, or is not a client's.
    CertificateUnknown,
    /// The certificate has expired or is not yet valid, or expired while connected.
    CertificateExpired,
    /// The certificate is on the revocation list.
    CertificateRevoked,
    /// The gateway's own revocation list has expired: every device is refused until it is renewed.
    RevocationListExpired,
    /// The certificate holds no Fieldpost device identity.
    IdentityMissing,
    /// The certificate's force is not configured here.
    ForceUnknown,
    // CONNECT.
    /// The first packet is not a CONNECT.
    ConnectMissing,
    /// Neither MQTT 3.1.1 nor 5.
    VersionUnsupported,
    /// The client id is not the device id of the certificate.
    ClientId,
    /// A will message: the gateway notices a lost device itself and refuses what it would not honour.
    Will,
    /// Enhanced authentication: identity comes from the certificate alone.
    AuthenticationMethod,
    // Connected.
    /// The client said goodbye.
    ClientDisconnect,
    /// The connection ended without a goodbye.
    PeerClosed,
    /// Nothing heard for one and a half keep-alive intervals.
    KeepAlive,
    /// The same device connected again.
    TakenOver,
    /// An administrator or the control room ended it.
    Administrative,
    /// The gateway is going down.
    Draining,
    /// The bytes are not MQTT.
    Malformed,
    /// MQTT, but not allowed at this point.
    ProtocolError,
    /// A packet over the announced maximum, seen at its fixed header.
    TooLarge,
    /// Quality of service 2.
    QosNotSupported,
    /// More unacknowledged messages than the announced receive maximum.
    ReceiveMaximum,
    /// An alias outside the announced range, or one never set.
    TopicAliasInvalid,
    /// A topic with a wildcard, or none at all.
    TopicInvalid,
    /// A retained message.
    RetainNotSupported,
    /// A topic that is not the device's own.
    TopicForeign,
    /// The spool cannot store: reconnect later.
    SpoolFailed,
    /// The spool was full and is no more: reconnect and send what has no PUBACK.
    RoomAgain,
}

impl Reason {
    /// Every reason, so that each is a time series from the first scrape.
    pub const ALL: [Self; 32] = [
        Self::ConnectionLimit,
        Self::ConnectDeadline,
        Self::TlsHandshake,
        Self::CertificateMissing,
        Self::CertificateUnknown,
        Self::CertificateExpired,
        Self::CertificateRevoked,
        Self::RevocationListExpired,
        Self::IdentityMissing,
        Self::ForceUnknown,
        Self::ConnectMissing,
        Self::VersionUnsupported,
        Self::ClientId,
        Self::Will,
        Self::AuthenticationMethod,
        Self::ClientDisconnect,
        Self::PeerClosed,
        Self::KeepAlive,
        Self::TakenOver,
        Self::Administrative,
        Self::Draining,
        Self::Malformed,
        Self::ProtocolError,
        Self::TooLarge,
        Self::QosNotSupported,
        Self::ReceiveMaximum,
        Self::TopicAliasInvalid,
        Self::TopicInvalid,
        Self::RetainNotSupported,
        Self::TopicForeign,
        Self::SpoolFailed,
        Self::RoomAgain,
    ];

    /// As a metric label and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "connection-limit",
            Self::ConnectDeadline => "connect-deadline",
            Self::TlsHandshake => "tls-handshake",
            Self::CertificateMissing => "certificate-missing",
            Self::CertificateUnknown => "certificate-unknown",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateRevoked => "certificate-revoked",
            Self::RevocationListExpired => "revocation-list-expired",
            Self::IdentityMissing => "identity-missing",
            Self::ForceUnknown => "force-unknown",
            Self::ConnectMissing => "connect-missing",
            Self::VersionUnsupported => "version-unsupported",
            Self::ClientId => "client-id",
            Self::Will => "will",
            Self::AuthenticationMethod => "authentication-method",
            Self::ClientDisconnect => "client-disconnect",
            Self::PeerClosed => "peer-closed",
            Self::KeepAlive => "keep-alive",
            Self::TakenOver => "taken-over",
            Self::Administrative => "administrative",
            Self::Draining => "draining",
            Self::Malformed => "malformed",
            Self::ProtocolError => "protocol-error",
            Self::TooLarge => "too-large",
            Self::QosNotSupported => "qos-not-supported",
            Self::ReceiveMaximum => "receive-maximum",
            Self::TopicAliasInvalid => "topic-alias-invalid",
            Self::TopicInvalid => "topic-invalid",
            Self::RetainNotSupported => "retain-not-supported",
            Self::TopicForeign => "topic-foreign",
            Self::SpoolFailed => "spool-failed",
            Self::RoomAgain => "room-again",
        }
    }

    /// The MQTT 5 reason code (section 2.4) for CONNACK, PUBACK and DISCONNECT.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Malformed => 0x81,
            Self::ProtocolError | Self::ConnectMissing => 0x82,
            Self::Will => 0x83,
            Self::VersionUnsupported => 0x84,
            Self::ClientId => 0x85,
            Self::TopicForeign
            | Self::CertificateMissing
            | Self::CertificateUnknown
            | Self::CertificateExpired
            | Self::CertificateRevoked
            | Self::RevocationListExpired
            | Self::IdentityMissing
            | Self::ForceUnknown => 0x87,
            Self::SpoolFailed => 0x88,
            Self::ConnectionLimit | Self::RoomAgain => 0x89,
            Self::Draining => 0x8B,
            Self::AuthenticationMethod => 0x8C,
            Self::KeepAlive => 0x8D,
            Self::TakenOver => 0x8E,
            Self::TopicInvalid => 0x90,
            Self::ReceiveMaximum => 0x93,
            Self::TopicAliasInvalid => 0x94,
            Self::TooLarge => 0x95,
            Self::Administrative => 0x98,
            Self::RetainNotSupported => 0x9A,
            Self::QosNotSupported => 0x9B,
            Self::ConnectDeadline => 0xA0,
            Self::TlsHandshake | Self::ClientDisconnect | Self::PeerClosed => 0x80,
        }
    }

    /// The MQTT 3.1.1 CONNACK return code (table 3.1).
    #[must_use]
    pub fn connect_return_code(self) -> u8 {
        match self {
            Self::VersionUnsupported => 1,
            Self::ClientId => 2,
            Self::SpoolFailed | Self::RoomAgain | Self::ConnectionLimit | Self::Draining => 3,
            _ => 5,
        }
    }

    /// True for the ways a healthy connection ends; everything else is a fault worth a warning.
    #[must_use]
    pub fn is_ordinary(self) -> bool {
        matches!(
            self,
            Self::ClientDisconnect | Self::PeerClosed | Self::TakenOver | Self::Draining | Self::RoomAgain
        )
    }
}

/// A refusal with nothing more to say about it.
impl From<Reason> for (Reason, String) {
    fn from(reason: Reason) -> Self {
        (reason, String::new())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_time_series() {
        assert_eq!(Reason::ALL.len(), Reason::RoomAgain as usize + 1, "ALL ends with the last variant");
        let names: HashSet<_> = Reason::ALL.map(Reason::as_str).into();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| reason.code() >= 0x80));
    }
}
