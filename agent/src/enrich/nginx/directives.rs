//! Directives of nginx that call nobody.
//!
//! In: a directive's name. Out: what it means for the question whether this nginx calls others. Always holds: only names that are
//! written here are taken for harmless, so that a module nobody knows counts as one that calls. Refuses: nothing.
//!
//! Names are those of the `ngx_command_t` tables in the sources of nginx 1.31, and at the end a few of modules that distributions
//! add. Left out on purpose, because with them nginx, or a process asked by it, opens connections: everything that ends in
//! `_pass`, `mirror`, `auth_request`, `resolver`, `ssl_stapling`, `ssl_ocsp`, `mail` with `auth_http`, `perl`, `js`, `lua`, `xslt`
//! (libxml2 fetches what a document names), `pass`, `post_action`.

use std::{collections::HashSet, sync::LazyLock};

/// What a directive means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It calls nobody.
    Quiet,
    /// A block of directives.
    Block,
    /// A block of values (`map`): what stands in it are no directives.
    Table,
    /// `include FILE`
    Include,
    /// `load_module FILE`
    Module,
    /// `master_process on|off`
    Master,
    /// Any other.
    Unknown,
}

/// Blocks of directives.
const BLOCKS: &str = "events http server location if limit_except upstream stream";

/// Blocks of values. Their `include` brings values too, never directives (`cf->handler` in `ngx_conf_parse`).
const TABLES: &str = "types map geo split_clients charset_map geoip2";

/// Directives that call nobody.
const QUIET: &str = "
    absolute_redirect accept_mutex accept_mutex_delay access_log add_after_body add_before_body add_header
    add_header_inherit add_trailer add_trailer_inherit addition_types aio aio_write alias allow ancient_browser
    ancient_browser_value auth_basic auth_basic_user_file auth_delay autoindex autoindex_exact_size autoindex_format
    autoindex_localtime break charset charset_types chunked_transfer_encoding client_body_buffer_size
    client_body_early_read client_body_in_file_only client_body_in_single_buffer client_body_temp_path
    client_body_timeout client_header_buffer_size client_header_timeout client_max_body_size connection_pool_size
    create_full_put_path daemon dav_access dav_methods debug_connection debug_points default_type degradation
    degrade deny directio directio_alignment disable_symlinks early_hints empty_gif env epoll_events error_log
    error_page etag expires flv geoip_city geoip_country geoip_org geoip_proxy geoip_proxy_recursive gunzip
    gunzip_buffers gzip gzip_buffers gzip_comp_level gzip_disable gzip_hash gzip_http_version gzip_min_length
    gzip_no_buffer gzip_proxied gzip_static gzip_types gzip_vary gzip_window hash http2 http2_body_preread_size
    http2_chunk_size http2_idle_timeout http2_max_concurrent_pushes http2_max_concurrent_streams
    http2_max_field_size http2_max_header_size http2_max_requests http2_pool_size http2_push http2_push_preload
    http2_recv_buffer_size http2_recv_timeout http2_streams_index_size http3 http3_hq http3_max_concurrent_streams
    http3_stream_buffer_size if_modified_since ignore_invalid_headers image_filter image_filter_buffer
    image_filter_interlace image_filter_jpeg_quality image_filter_sharpen image_filter_transparency
    image_filter_webp_quality index internal ip_hash keepalive keepalive_disable keepalive_min_timeout
    keepalive_requests keepalive_time keepalive_timeout large_client_header_buffers least_conn least_time limit_conn
    limit_conn_dry_run limit_conn_log_level limit_conn_status limit_conn_zone limit_rate limit_rate_after limit_req
    limit_req_dry_run limit_req_log_level limit_req_status limit_req_zone lingering_close lingering_time
    lingering_timeout listen lock_file log_format log_not_found log_subrequest map_hash_bucket_size
    map_hash_max_size max_headers max_ranges merge_slashes min_delete_depth modern_browser modern_browser_value mp4
    mp4_buffer_size mp4_max_buffer_size mp4_start_key_frame msie_padding msie_refresh multi_accept open_file_cache
    open_file_cache_errors open_file_cache_events open_file_cache_min_uses open_file_cache_valid open_log_file_cache
    output_buffers override_charset pcre_jit pid port_in_redirect postpone_gzipping postpone_output
    preread_buffer_size preread_timeout proxy_protocol_timeout quic_active_connection_id_limit quic_bpf quic_gso
    quic_host_key quic_retry random random_index read_ahead real_ip_header real_ip_recursive recursive_error_pages
    referer_hash_bucket_size referer_hash_max_size request_pool_size reset_timedout_connection return rewrite
    rewrite_log root satisfy secure_link secure_link_md5 secure_link_secret send_lowat send_timeout sendfile
    sendfile_max_chunk server server_name server_name_in_redirect server_names_hash_bucket_size
    server_names_hash_max_size server_tokens set set_real_ip_from slice source_charset ssi
    ssi_ignore_recycled_buffers ssi_last_modified ssi_min_file_chunk ssi_silent_errors ssi_types ssi_value_length
    ssl ssl_alpn ssl_buffer_size ssl_certificate ssl_certificate_cache ssl_certificate_compression
    ssl_certificate_key ssl_ciphers ssl_client_certificate ssl_conf_command ssl_crl ssl_dhparam ssl_early_data
    ssl_ecdh_curve ssl_ech_file ssl_handshake_timeout ssl_object_cache_inheritable ssl_password_file
    ssl_prefer_server_ciphers ssl_preread ssl_protocols ssl_reject_handshake ssl_session_cache
    ssl_session_ticket_key ssl_session_tickets ssl_session_timeout ssl_trusted_certificate ssl_verify_client
    ssl_verify_depth sticky stub_status sub_filter sub_filter_last_modified sub_filter_once sub_filter_types
    subrequest_output_buffer_size tcp_nodelay tcp_nopush thread_pool timer_resolution try_files
    types_hash_bucket_size types_hash_max_size underscores_in_headers uninitialized_variable_warn use user userid
    userid_domain userid_expires userid_flags userid_mark userid_name userid_p3p userid_path userid_service
    valid_referers variables_hash_bucket_size variables_hash_max_size worker_aio_requests worker_connections
    worker_cpu_affinity worker_priority worker_processes worker_rlimit_core worker_rlimit_nofile
    worker_shutdown_timeout working_directory zone
    brotli brotli_buffers brotli_comp_level brotli_min_length brotli_static brotli_types brotli_window echo
    more_clear_headers more_clear_input_headers more_set_headers more_set_input_headers
    ";

/// Modules whose directives set how a call is made; the call itself is `PREFIXpass`.
const CALLERS: &[&str] = &[
    "proxy_",
    "fastcgi_",
    "uwsgi_",
    "scgi_",
    "grpc_",
    "memcached_",
];

/// What follows the prefix in those directives.
const CALLS_PARAMETERS: &str = "
    bind buffer_size buffering buffers busy_buffers_size cache cache_background_update cache_bypass
    cache_convert_head cache_key cache_lock cache_lock_age cache_lock_timeout cache_max_range_offset cache_methods
    cache_min_uses cache_path cache_revalidate cache_use_stale cache_valid catch_stderr connect_timeout
    cookie_domain cookie_flags cookie_path force_ranges gzip_flag headers_hash_bucket_size headers_hash_max_size
    hide_header http_version ignore_client_abort ignore_headers index intercept_errors keep_conn limit_rate
    max_temp_file_size method modifier1 modifier2 next_upstream next_upstream_timeout next_upstream_tries no_cache
    param pass_header pass_request_body pass_request_headers pass_trailers read_timeout redirect request_buffering
    send_lowat send_timeout set_body set_header socket_keepalive socket_rcvbuf socket_sndbuf split_path_info
    ssl_certificate ssl_certificate_cache ssl_certificate_key ssl_ciphers ssl_conf_command ssl_crl ssl_name
    ssl_password_file ssl_protocols ssl_server_name ssl_session_reuse ssl_trusted_certificate ssl_verify
    ssl_verify_depth store store_access string temp_file_write_size temp_path
    ";

/// Modules that call nobody by being loaded; what their directives do is said above. Those of Debian's `nginx-full`, and usual ones.
const MODULES: &str = "
    ndk_http_module ngx_http_auth_pam_module ngx_http_brotli_filter_module ngx_http_brotli_static_module
    ngx_http_cache_purge_module ngx_http_dav_ext_module ngx_http_echo_module ngx_http_fancyindex_module
    ngx_http_geoip2_module ngx_http_geoip_module ngx_http_headers_more_filter_module ngx_http_image_filter_module
    ngx_http_subs_filter_module ngx_http_uploadprogress_module ngx_http_upstream_fair_module
    ngx_http_xslt_filter_module ngx_mail_module ngx_stream_geoip2_module ngx_stream_geoip_module ngx_stream_module
    ";

/// The long lists, to look names up in: a host may have many sites.
static QUIET_NAMES: LazyLock<HashSet<&str>> =
    LazyLock::new(|| QUIET.split_ascii_whitespace().collect());
static CALLS_PARAMETER_NAMES: LazyLock<HashSet<&str>> =
    LazyLock::new(|| CALLS_PARAMETERS.split_ascii_whitespace().collect());

fn is_among(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == name)
}

/// What the directive `name` means; `opens` says that it ended with `{`.
pub fn meaning(name: &[u8], opens: bool) -> Meaning {
    let Ok(name) = std::str::from_utf8(name) else {
        return Meaning::Unknown;
    };
    let is_parameter = || {
        CALLERS.iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| CALLS_PARAMETER_NAMES.contains(rest))
        })
    };
    match (name, opens) {
        (name, true) if is_among(BLOCKS, name) => Meaning::Block,
        (name, true) if is_among(TABLES, name) => Meaning::Table,
        (_, true) => Meaning::Unknown,
        ("include", false) => Meaning::Include,
        ("load_module", false) => Meaning::Module,
        ("master_process", false) => Meaning::Master,
        (name, false) if QUIET_NAMES.contains(name) || is_parameter() => Meaning::Quiet,
        _ => Meaning::Unknown,
    }
}

/// True if the module in the file at `path` calls nobody by being loaded.
pub fn is_quiet_module(path: &[u8]) -> bool {
    std::str::from_utf8(path).is_ok_and(|path| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.strip_suffix(".so")
            .is_some_and(|name| is_among(MODULES, name))
    })
}

#[cfg(test)]
mod tests {
    use super::{CALLS_PARAMETERS, Meaning, QUIET, is_among, is_quiet_module, meaning};

    #[test]
    fn directives_that_call_are_not_among_the_quiet_ones() {
        for name in [
            "proxy_pass",
            "fastcgi_pass",
            "uwsgi_pass",
            "scgi_pass",
            "grpc_pass",
            "memcached_pass",
            "tunnel_pass",
            "redis2_pass",
            "pass",
            "mirror",
            "auth_request",
            "auth_http",
            "resolver",
            "ssl_stapling",
            "ssl_ocsp",
            "proxy",
            "proxy_connect",
            "perl",
            "perl_modules",
            "js_import",
            "js_content",
            "js_fetch_timeout",
            "content_by_lua_file",
            "passenger_enabled",
            "health_check",
            "zone_sync",
            "otel_exporter",
            "xslt_stylesheet",
            "post_action",
            "proxy_passx",
            "Proxy_pass",
            "",
        ] {
            assert_eq!(meaning(name.as_bytes(), false), Meaning::Unknown, "{name}");
            assert_eq!(meaning(name.as_bytes(), true), Meaning::Unknown, "{name}");
        }
        let calls = |name: &&str| *name == "pass" || name.ends_with("_pass");
        assert_eq!(QUIET.split_ascii_whitespace().find(calls), None);
        assert!(!is_among(CALLS_PARAMETERS, "pass"));
    }

    #[test]
    fn ordinary_directives_have_their_meaning() {
        let check = |name: &str, opens: bool, expect: Meaning| {
            assert_eq!(meaning(name.as_bytes(), opens), expect, "{name}");
        };
        check("sendfile", false, Meaning::Quiet);
        check("sendfile", true, Meaning::Unknown);
        check("proxy_temp_path", false, Meaning::Quiet);
        check("fastcgi_param", false, Meaning::Quiet);
        check("server", true, Meaning::Block);
        check("server", false, Meaning::Quiet); // in upstream
        check("map", true, Meaning::Table);
        check("map", false, Meaning::Unknown);
        check("mail", true, Meaning::Unknown);
        check("include", false, Meaning::Include);
        check("include", true, Meaning::Unknown);
    }

    #[test]
    fn modules_are_known_by_their_file() {
        let check = |path: &str, expect: bool| {
            assert_eq!(is_quiet_module(path.as_bytes()), expect, "{path}")
        };
        check("modules/ngx_http_echo_module.so", true);
        check("/usr/lib/nginx/modules/ngx_stream_module.so", true);
        check("ngx_http_js_module.so", false);
        check("modules/ngx_http_perl_module.so", false);
        check("modules/ngx_http_echo_module", false);
        check("ngx_http_echo_module.so/x.so", false);
    }
}
