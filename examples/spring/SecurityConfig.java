// For Spring Boot 3.5 or later (Spring Security 6.5), with spring-boot-starter-oauth2-resource-server.
package com.example.shop;

import java.util.Objects;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.http.HttpMethod;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.config.annotation.web.configuration.EnableWebSecurity;
import org.springframework.security.config.http.SessionCreationPolicy;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.web.SecurityFilterChain;

@Configuration
@EnableWebSecurity
public class SecurityConfig {

    // Spring maps each scope of the token to an authority with the prefix SCOPE_.
    @Bean
    SecurityFilterChain api(HttpSecurity http) throws Exception {
        return http
                .authorizeHttpRequests(requests -> requests
                        .requestMatchers(HttpMethod.GET, "/items").hasAuthority("SCOPE_items:read")
                        .requestMatchers(HttpMethod.POST, "/items").hasAuthority("SCOPE_items:write")
                        .anyRequest().authenticated())
                .oauth2ResourceServer(server -> server.jwt(Customizer.withDefaults()))
                .sessionManagement(sessions -> sessions.sessionCreationPolicy(SessionCreationPolicy.STATELESS))
                .build();
    }

    // Spring's default decoder accepts only the `typ` JWT and refuses grantd's access tokens, which have at+jwt (RFC 9068). In
    // Spring Security 6 this is a check of Nimbus, which validateType(false) disables; in 7 it is one of the validators that
    // setJwtValidator replaces. The validators below require at+jwt.
    @Bean
    JwtDecoder jwtDecoder(
            @Value("${spring.security.oauth2.resourceserver.jwt.issuer-uri}") String issuer,
            @Value("${spring.security.oauth2.resourceserver.jwt.jwk-set-uri}") String jwkSetUri,
            @Value("${spring.security.oauth2.resourceserver.jwt.audiences}") String audience) {
        NimbusJwtDecoder decoder = NimbusJwtDecoder.withJwkSetUri(jwkSetUri)
                .jwsAlgorithm(SignatureAlgorithm.ES256) // GRANTD_SIGNING_ALGORITHM; without this line Spring accepts only RS256.
                .validateType(false)
                .build();
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator()
                .issuer(issuer)
                .audience(audience)
                // The builder requires a validator for client_id. Accept any client: the scopes decide.
                .validators(all -> all.put("client_id", new JwtClaimValidator<String>("client_id", Objects::nonNull)))
                .build());
        return decoder;
    }
}
