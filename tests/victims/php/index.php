<?php
// The PHP victim: php-fpm behind nginx, php-curl as its client. The FastCGI parameter LEAF_URL names the server that /work calls.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$parts = explode('/', substr($path, 1));
header('Content-Type: text/plain');
switch ($parts[0]) {
    case 'work':
        if (isset($parts[2])) {
            require __DIR__ . '/shapes.php';
            work($parts[1], $parts[2]);
            echo 'worked';
            break;
        }
        $call = curl_init($_SERVER['LEAF_URL'] . '/leaf/' . $parts[1] . '/0');
        curl_setopt($call, CURLOPT_RETURNTRANSFER, true);
        curl_setopt($call, CURLOPT_TIMEOUT, 60);
        $body = curl_exec($call);
        if ($body === false) {
            http_response_code(502);
            echo curl_error($call);
            break;
        }
        echo 'worked ' . $body;
        break;
    case 'slow':
        usleep(1000 * (int) ($_GET['ms'] ?? 300));
        echo 'slow';
        break;
    case 'status':
        http_response_code((int) $parts[1]);
        echo in_array($parts[1], ['204', '304'], true) ? '' : 'status';
        break;
    case 'echo':
        echo strlen(file_get_contents('php://input'));
        break;
    case 'chunked':
        for ($part = 0; $part < 5; $part++) {
            echo "part $part\n";
            flush();
        }
        break;
    default:
        echo 'leaf ' . $path;
}
