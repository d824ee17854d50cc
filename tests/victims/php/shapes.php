<?php
// What /work/SHAPE/ID calls of the leaf in PHP: every call is GET /leaf/ID/N, so that its path says whose it is.

function leaf(string $id, int $step, string $query = ''): string
{
    return "{$_SERVER['LEAF_URL']}/leaf/$id/$step$query";
}

// An address of this host that belongs to the one request, and port 2, where nobody listens.
function refused(string $id): string
{
    $low = hexdec(substr($id, -4));
    return 'http://127.1.' . ($low >> 8) . '.' . ($low & 255) . ":2/leaf/$id/2";
}

function handle(string $url): CurlHandle
{
    $call = curl_init($url);
    curl_setopt_array($call, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 60]);
    return $call;
}

// Many calls at once on the one thread; `$most` connections to the leaf, or as many as there are calls.
function at_once(string $id, int $calls, int $most): void
{
    $all = curl_multi_init();
    curl_multi_setopt($all, CURLMOPT_MAX_HOST_CONNECTIONS, $most);
    for ($step = 0; $step < $calls; $step++) {
        curl_multi_add_handle($all, handle(leaf($id, $step)));
    }
    do {
        curl_multi_exec($all, $running);
        curl_multi_select($all, 1);
    } while ($running > 0);
}

function work(string $shape, string $id): void
{
    switch ($shape) {
        case 'seq':
            for ($step = 0; $step < 3; $step++) {
                curl_exec(handle(leaf($id, $step)));
            }
            break;
        case 'fanout':
            at_once($id, 4, 0);
            break;
        case 'pool':
            at_once($id, 3, 2);
            break;
        case 'timer':
            curl_exec(handle(leaf($id, 0)));
            usleep(1000 * (1 + hexdec(substr($id, -2)) % 8));
            curl_exec(handle(leaf($id, 1)));
            break;
        case 'fail':
            foreach ([leaf($id, 0, '?fail=500'), leaf($id, 1, '?fail=close'), refused($id)] as $url) {
                curl_exec(handle($url));
            }
            break;
        case 'background':
            // The response is whole and gone before the script ends (php-fpm).
            echo 'worked';
            fastcgi_finish_request();
            usleep(1000 * (1 + hexdec(substr($id, -2)) % 8));
            curl_exec(handle(leaf($id, 0)));
            break;
        default:
            http_response_code(404);
    }
}
