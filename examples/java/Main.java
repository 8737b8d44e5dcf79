// A Java service that accepts grantd's tokens, with the JDK (17 or later) and Jackson: it verifies them offline, and guards routes
// by scope. Jackson is com.fasterxml.jackson.core:jackson-databind of Maven Central, or libjackson2-databind-java of Debian:
//
//     javac -cp '/usr/share/java/*' -d classes *.java
//     java -cp 'classes:/usr/share/java/*' Main

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;

public final class Main {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String ISSUER = env("ISSUER", "http://127.0.0.1:8080");
    private static final Guard GUARD = new Guard(ISSUER, env("AUDIENCE", ISSUER));
    private static final int MAX_BODY = 64 << 10;

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(env("PORT", "3000"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.createContext("/", Main::handle);
        server.start();
    }

    private static void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            respond(exchange);
        }
    }

    private static void respond(HttpExchange exchange) throws IOException {
        try {
            route(exchange);
        } catch (Guard.Refused refused) {
            exchange.getResponseHeaders().set("WWW-Authenticate", refused.challenge);
            answer(exchange, refused.status, Map.of("detail", refused.getMessage()));
        } catch (Guard.Unavailable unavailable) {
            answer(exchange, 503, Map.of("detail", unavailable.getMessage()));
        } catch (JsonProcessingException malformed) {
            answer(exchange, 400, Map.of("detail", "malformed JSON"));
        }
    }

    private static void route(HttpExchange exchange) throws IOException, Guard.Refused, Guard.Unavailable {
        switch (exchange.getRequestMethod() + " " + exchange.getRequestURI().getPath()) {
            case "GET /protected" -> greet(exchange, guard(exchange));
            case "GET /items" -> {
                guard(exchange, "items:read");
                answer(exchange, 200, List.of(Map.of("name", "lamp", "price", 9.5)));
            }
            case "POST /items" -> {
                guard(exchange, "items:write");
                answer(exchange, 200, JSON.readTree(exchange.getRequestBody().readNBytes(MAX_BODY)));
            }
            default -> answer(exchange, 404, Map.of("detail", "not found"));
        }
    }

    /** Returns the caller's claims, if the request has a valid token with all these scopes. */
    private static JsonNode guard(HttpExchange exchange, String... needed) throws Guard.Refused, Guard.Unavailable {
        return GUARD.require(exchange.getRequestHeaders().getFirst("Authorization"), needed);
    }

    private static void greet(HttpExchange exchange, JsonNode claims) throws IOException {
        String name = claims.path("username").asText(claims.path("sub").asText());
        answer(exchange, 200, Map.of("message", "Hello, " + name + "! You are authenticated."));
    }

    private static void answer(HttpExchange exchange, int status, Object value) throws IOException {
        byte[] body = JSON.writeValueAsBytes(value);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
    }

    private static String env(String name, String fallback) {
        return System.getenv().getOrDefault(name, fallback);
    }
}
