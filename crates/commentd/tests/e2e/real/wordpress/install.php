<?php
// Installs the site with these options (JSON), and prints the application passwords of its two accounts.
define('WP_INSTALLING', true);
// Readers and a writer at the same time, and fewer syncs; the file remembers it.
(new PDO('sqlite:' . dirname($argv[1]) . '/database/wordpress.sqlite'))->exec('PRAGMA journal_mode = WAL');
require $argv[1] . '/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('commentd tests', 'admin', 'admin@example.org', true, '', 'unused');
$usual = ['comment_moderation' => 0, 'comment_previously_approved' => 0, 'require_name_email' => 0];
foreach (array_merge($usual, json_decode($argv[2], true)) as $option => $value) {
    update_option($option, $value);
}
$reader = wp_insert_user(['user_login' => 'reader', 'user_pass' => 'unused', 'user_email' => 'reader@example.org',
    'display_name' => 'Reader', 'role' => 'subscriber']);
$closed = wp_insert_post(['post_title' => 'Closed', 'post_status' => 'publish', 'comment_status' => 'closed']);
echo json_encode([
    'admin' => WP_Application_Passwords::create_new_application_password(1, ['name' => 'tests'])[0],
    'reader' => WP_Application_Passwords::create_new_application_password($reader, ['name' => 'tests'])[0],
    'reader_id' => $reader,
    'closed_post' => $closed,
]);
