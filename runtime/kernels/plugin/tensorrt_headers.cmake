# TENSORRT_HEADERS, a folder, and TENSORRT_HEADERS_VERSION, such as 10.12.0.
#
# Taken from TENSORRT_ROOT, or where an installed TensorRT has them (JetPack, NVIDIA's containers), or, if
# TENSORRT_VERSION is given and nothing of that version is installed, from NVIDIA's repository at its tag. They are
# Apache-2.0. The environment may name TENSORRT_ROOT and TENSORRT_REPOSITORY too.
set(TENSORRT_ROOT "" CACHE PATH "An unpacked TensorRT")
set(TENSORRT_VERSION "" CACHE STRING "The TensorRT that will load the library, such as 10.12.0")
set(repository "https://github.com/NVIDIA/TensorRT.git")
if(DEFINED ENV{TENSORRT_REPOSITORY})
    set(repository $ENV{TENSORRT_REPOSITORY})
endif()
set(TENSORRT_REPOSITORY ${repository} CACHE STRING "Where the headers are taken from")

function(read_version folder result)
    file(STRINGS ${folder}/NvInferVersion.h lines REGEX "#define (NV_TENSORRT|TRT)_(MAJOR|MINOR|PATCH)[_A-Z]* +[0-9]")
    set(version)
    foreach(part MAJOR MINOR PATCH)
        string(REGEX MATCH "_${part}[_A-Z]* +([0-9]+)" _ "${lines}")
        list(APPEND version ${CMAKE_MATCH_1})
    endforeach()
    list(JOIN version . version)
    set(${result} ${version} PARENT_SCOPE)
endfunction()

# The repository's tag of TENSORRT_VERSION; its tags leave out trailing zeros, or do not, and some patches.
function(find_tag result)
    execute_process(
        COMMAND ${CMAKE_COMMAND} -E env GIT_TERMINAL_PROMPT=0 ${GIT_EXECUTABLE} ls-remote --tags ${TENSORRT_REPOSITORY}
        OUTPUT_VARIABLE tags RESULT_VARIABLE failed ERROR_QUIET)
    if(failed)
        message(FATAL_ERROR
            "hidenerf: TensorRT's headers are not installed, and ${TENSORRT_REPOSITORY} cannot be reached")
    endif()
    string(REGEX MATCH "^([0-9]+)\\.([0-9]+)(\\.([0-9]+))?" _ "${TENSORRT_VERSION}")
    set(minor v${CMAKE_MATCH_1}.${CMAKE_MATCH_2})
    foreach(tag ${minor}.${CMAKE_MATCH_4} ${minor} ${minor}.0)
        if(tags MATCHES "refs/tags/${tag}\n")
            set(${result} ${tag} PARENT_SCOPE)
            return()
        endif()
    endforeach()
    message(FATAL_ERROR "hidenerf: ${TENSORRT_REPOSITORY} has no tag of TensorRT ${TENSORRT_VERSION}")
endfunction()

find_path(TENSORRT_INCLUDE NvInferRuntime.h HINTS ${TENSORRT_ROOT} ENV TENSORRT_ROOT PATH_SUFFIXES include)
set(TENSORRT_HEADERS_VERSION)
if(TENSORRT_INCLUDE)
    set(TENSORRT_HEADERS ${TENSORRT_INCLUDE})
    read_version(${TENSORRT_HEADERS} TENSORRT_HEADERS_VERSION)
endif()
string(REGEX MATCH "^[0-9]+\\.[0-9]+" wanted_minor "${TENSORRT_VERSION}")
if(TENSORRT_VERSION AND NOT "${TENSORRT_HEADERS_VERSION}." MATCHES "^${wanted_minor}\\.")
    find_package(Git)
    if(NOT Git_FOUND)
        message(FATAL_ERROR
            "hidenerf: the headers of TensorRT ${TENSORRT_VERSION} are not installed, and there is no git to take them")
    endif()
    find_tag(tag)
    include(FetchContent)
    FetchContent_Declare(tensorrt_headers
        DOWNLOAD_COMMAND ${CMAKE_COMMAND} -E rm -rf <SOURCE_DIR>
        COMMAND ${GIT_EXECUTABLE} -c advice.detachedHead=false clone --quiet --depth 1 --filter=blob:none --sparse
            --branch ${tag} ${TENSORRT_REPOSITORY} <SOURCE_DIR>
        COMMAND ${GIT_EXECUTABLE} -C <SOURCE_DIR> sparse-checkout set include
        SOURCE_SUBDIR include)
    FetchContent_MakeAvailable(tensorrt_headers)
    set(TENSORRT_HEADERS ${tensorrt_headers_SOURCE_DIR}/include)
    read_version(${TENSORRT_HEADERS} TENSORRT_HEADERS_VERSION)
elseif(NOT TENSORRT_HEADERS_VERSION)
    message(FATAL_ERROR
        "hidenerf: TensorRT's headers are not installed; name them with -DTENSORRT_ROOT=FOLDER, or give "
        "-DTENSORRT_VERSION=VERSION to download them")
endif()
message(STATUS "TensorRT ${TENSORRT_HEADERS_VERSION}: ${TENSORRT_HEADERS}")
