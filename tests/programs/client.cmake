# Makes HTTPS requests by CMake, which has libcurl and OpenSSL in it, and writes down what it
# did: cmake -DTARGET=URL -DCOUNT=N -DOUT=FILE -P client.cmake
#
# Each is a connection of its own. What CMake does not say itself, its log of it does.

cmake_minimum_required(VERSION 3.18)

# It is observed from some tens of milliseconds on; under load finding functions in it takes
# seconds, of a build for debugging.
execute_process(COMMAND "${CMAKE_COMMAND}" -E sleep 5)

file(WRITE "${OUT}" "")
math(EXPR last "${COUNT} - 1")
foreach(number RANGE ${last})
    math(EXPR which "${number} % 4")
    set(name items)
    if(which EQUAL 3)
        set(name created)
    endif()
    set(path "/api/${name}/${number}")
    file(DOWNLOAD "${TARGET}${path}?q=secret-${number}" "${OUT}.body"
        TLS_VERIFY OFF TIMEOUT 60 LOG log STATUS said)
    if(NOT log MATCHES "HTTP/1\\.1 ([0-9]+)")
        message(FATAL_ERROR "no answer: ${said}")
    endif()
    set(status "${CMAKE_MATCH_1}")
    if(NOT log MATCHES "X-Port: ([0-9]+)")
        message(FATAL_ERROR "no port: ${log}")
    endif()
    set(port "${CMAKE_MATCH_1}")
    file(SIZE "${OUT}.body" size)
    file(SHA256 "${OUT}.body" hash)
    string(SHA256 none "")
    string(CONCAT line
        "{\"method\":\"GET\",\"path\":\"${path}\",\"status\":${status},"
        "\"request_size\":0,\"request_sha256\":\"${none}\","
        "\"response_size\":${size},\"response_sha256\":\"${hash}\",\"port\":${port}}\n")
    file(APPEND "${OUT}" "${line}")
endforeach()
