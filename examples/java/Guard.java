import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.RSAPublicKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Verifies the access tokens (RFC 9068) of one issuer. Fetches the issuer's keys when it needs them, and caches them. */
final class Guard {
    /** The clocks of issuer and service may differ by so many seconds. */
    private static final long LEEWAY = 30;
    /** Minimum time between two fetches, successful or not: tokens with made-up key ids must not turn into requests. */
    private static final long COOL_DOWN = TimeUnit.SECONDS.toNanos(10);
    /**
     * Keys are fetched again after this time, so that a key that the issuer has retired is not accepted for longer. While the
     * issuer does not answer, the old ones stay.
     */
    private static final long MAX_AGE = TimeUnit.MINUTES.toNanos(5);
    private static final Duration TIMEOUT = Duration.ofSeconds(5);
    private static final int MAX_BODY = 1 << 20;

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Base64.Decoder BASE64URL = Base64.getUrlDecoder();

    /** No valid token with the needed scopes. Respond with this status and this `WWW-Authenticate` (RFC 6750). */
    static final class Refused extends Exception {
        final int status;
        final String challenge;

        Refused(int status, String challenge) {
            super(challenge);
            this.status = status;
            this.challenge = "Bearer " + challenge;
        }
    }

    /** The issuer's keys are not available. Respond with 503. */
    static final class Unavailable extends Exception {
        Unavailable(Throwable cause) {
            super("the issuer's keys are not available", cause);
        }
    }

    /** A public key, the only `alg` that it accepts, and Java's name of that algorithm. */
    private record Key(String algorithm, String javaName, PublicKey key) {
        boolean verifies(String text, byte[] signature) throws GeneralSecurityException {
            Signature verifier = Signature.getInstance(javaName);
            verifier.initVerify(key);
            verifier.update(text.getBytes(StandardCharsets.US_ASCII));
            return verifier.verify(signature);
        }
    }

    private record Keys(Map<String, Key> byId, long stored) {
        boolean areFresh() {
            return System.nanoTime() - stored < MAX_AGE;
        }
    }

    private final String issuer;
    private final String audience;
    // A redirect could lead to keys of somebody else.
    private final HttpClient client =
            HttpClient.newBuilder().followRedirects(HttpClient.Redirect.NEVER).connectTimeout(TIMEOUT).build();

    private volatile Keys keys = new Keys(Map.of(), System.nanoTime() - MAX_AGE);
    // The last fetch. Guarded by the monitor of this object.
    private long attempted = System.nanoTime() - MAX_AGE;
    private Exception failure;

    /** Accepts tokens of this issuer for this audience. */
    Guard(String issuer, String audience) {
        this.issuer = issuer;
        this.audience = audience;
    }

    /** Returns the claims of the token in this `Authorization` header, if it is valid and has all these scopes. */
    JsonNode require(String authorization, String... needed) throws Refused, Unavailable {
        String[] parts = authorization == null ? new String[0] : authorization.trim().split(" +");
        if (parts.length != 2 || !parts[0].equalsIgnoreCase("Bearer")) throw new Refused(401, "realm=\"shop\"");
        JsonNode claims;
        try {
            claims = verify(parts[1], Instant.now().getEpochSecond());
        } catch (IOException | GeneralSecurityException | IllegalArgumentException malformed) {
            throw invalid();
        }
        List<String> scopes = Arrays.asList(claims.path("scope").asText().split(" "));
        if (!scopes.containsAll(Arrays.asList(needed))) {
            throw new Refused(403, "error=\"insufficient_scope\", scope=\"" + String.join(" ", needed) + "\"");
        }
        return claims;
    }

    private static Refused invalid() {
        return new Refused(401, "error=\"invalid_token\"");
    }

    private JsonNode verify(String token, long now)
            throws Refused, Unavailable, IOException, GeneralSecurityException {
        String[] parts = token.split("\\.", -1);
        if (parts.length != 3) throw invalid();
        JsonNode header = JSON.readTree(BASE64URL.decode(parts[0]));
        // The type keeps other JWTs of the issuer out (RFC 9068 §4). No critical extension is implemented.
        if (!header.path("typ").asText().equalsIgnoreCase("at+jwt") || header.has("crit")) throw invalid();
        Key key = key(header.path("kid").asText());
        // The key determines the algorithm, not the token.
        if (!header.path("alg").asText().equals(key.algorithm)) throw invalid();
        if (!key.verifies(parts[0] + "." + parts[1], BASE64URL.decode(parts[2]))) throw invalid();

        JsonNode claims = JSON.readTree(BASE64URL.decode(parts[1]));
        boolean isExpired = now >= claims.path("exp").asLong() + LEEWAY;
        boolean isEarly = !claims.path("iat").isNumber()
                || claims.path("iat").asLong() > now + LEEWAY
                || claims.path("nbf").asLong() > now + LEEWAY;
        if (isExpired || isEarly || !claims.path("iss").asText().equals(issuer) || !isForUs(claims.path("aud"))) {
            throw invalid();
        }
        for (String required : List.of("sub", "jti", "client_id")) {
            if (claims.path(required).asText().isEmpty()) throw invalid();
        }
        return claims;
    }

    /** `aud` is one text or a list of them (RFC 7519 §4.1.3). */
    private boolean isForUs(JsonNode found) {
        if (found.isTextual()) return found.asText().equals(audience);
        for (JsonNode one : found) {
            if (one.asText().equals(audience)) return true;
        }
        return false;
    }

    /** Returns the key with this id, and fetches the keys if it is not among them. */
    private Key key(String id) throws Refused, Unavailable {
        Keys cached = keys;
        Key key = cached.byId.get(id);
        return key != null && cached.areFresh() ? key : keyAfterFetch(id);
    }

    /** One fetch at a time. Tokens with a cached key do not wait for it. */
    private synchronized Key keyAfterFetch(String id) throws Refused, Unavailable {
        long age = System.nanoTime() - attempted;
        if (age >= COOL_DOWN && (!keys.byId.containsKey(id) || age >= MAX_AGE)) {
            attempted = System.nanoTime();
            try {
                // Replaces all keys: those that the issuer no longer publishes are dropped.
                keys = new Keys(fetch(), attempted);
                failure = null;
            } catch (IOException | IllegalArgumentException problem) {
                failure = problem;
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
                failure = interrupted;
            }
        }
        Key key = keys.byId.get(id);
        if (key != null) return key;
        if (failure != null) throw new Unavailable(failure);
        throw invalid();
    }

    private Map<String, Key> fetch() throws IOException, InterruptedException {
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(issuer + "/.well-known/jwks.json")).timeout(TIMEOUT).build();
        HttpResponse<InputStream> response = client.send(request, BodyHandlers.ofInputStream());
        byte[] body;
        try (InputStream stream = response.body()) {
            // The request's timeout ends with the head of the response. Closing the stream ends a slow body.
            CompletableFuture.delayedExecutor(TIMEOUT.toSeconds(), TimeUnit.SECONDS).execute(() -> close(stream));
            body = stream.readNBytes(MAX_BODY);
        }
        if (response.statusCode() != 200) throw new IOException("the issuer answered " + response.statusCode());
        Map<String, Key> found = new HashMap<>();
        for (JsonNode jwk : JSON.readTree(body).path("keys")) {
            try {
                found.put(jwk.path("kid").asText(), parse(jwk));
            } catch (GeneralSecurityException | IllegalArgumentException unusable) {
                // Tokens with such a key are refused.
            }
        }
        return found;
    }

    private static void close(InputStream stream) {
        try {
            stream.close();
        } catch (IOException ignored) {
            // It is not read any more.
        }
    }

    private static Key parse(JsonNode jwk) throws GeneralSecurityException {
        String kind = jwk.path("alg").asText() + " " + jwk.path("crv").asText();
        return switch (kind) {
            case "ES256 P-256" -> new Key("ES256", "SHA256withECDSAinP1363Format", p256(jwk));
            case "EdDSA Ed25519" -> new Key("EdDSA", "Ed25519", ed25519(jwk));
            case "RS256 " -> new Key("RS256", "SHA256withRSA", rsa(jwk));
            default -> throw new IllegalArgumentException("another kind of key");
        };
    }

    private static PublicKey p256(JsonNode jwk) throws GeneralSecurityException {
        AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
        curve.init(new ECGenParameterSpec("secp256r1"));
        ECPoint point = new ECPoint(number(jwk, "x"), number(jwk, "y"));
        ECParameterSpec parameters = curve.getParameterSpec(ECParameterSpec.class);
        return KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(point, parameters));
    }

    private static PublicKey ed25519(JsonNode jwk) throws GeneralSecurityException {
        // The encoding that Java reads (RFC 8410): a constant head, then the 32 bytes of `x`.
        String encoded = "302a300506032b6570032100" + HexFormat.of().formatHex(bytes(jwk, "x"));
        return KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(HexFormat.of().parseHex(encoded)));
    }

    private static PublicKey rsa(JsonNode jwk) throws GeneralSecurityException {
        return KeyFactory.getInstance("RSA").generatePublic(new RSAPublicKeySpec(number(jwk, "n"), number(jwk, "e")));
    }

    private static byte[] bytes(JsonNode jwk, String member) {
        return BASE64URL.decode(jwk.path(member).asText());
    }

    private static BigInteger number(JsonNode jwk, String member) {
        return new BigInteger(1, bytes(jwk, member));
    }
}
