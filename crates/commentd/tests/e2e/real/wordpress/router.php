<?php
// For PHP's own server: everything is WordPress's, as under any web server with its rewrite rules.
require __DIR__ . '/index.php';
