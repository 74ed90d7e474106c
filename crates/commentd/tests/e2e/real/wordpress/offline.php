<?php
// Loaded by WordPress before its plugins.
add_filter('pre_http_request', fn() => new WP_Error('offline', 'this WordPress is offline'));
add_filter('pre_wp_mail', '__return_false');
// By REST, guests may comment only where a site's own code says so.
add_filter('rest_allow_anonymous_comments', fn() => (bool) get_option('let_guests_comment'));
// A test of the flood control switches it on; all others post faster than people do.
add_filter('wp_is_comment_flood', fn($is_flood) => get_option('keep_flood_control') ? $is_flood : false, 100);
