#include "messages.hpp"

#include <atomic>
#include <cstdarg>
#include <cstdio>

#include "face.hpp"

namespace hidenerf {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

nvinfer1::ILogger* find_logger() noexcept {
    nvinfer1::ILoggerFinder* finder = logger_finder.load();
    if (finder == nullptr) return nullptr;
    // TensorRT's own code, which may throw.
    try {
        return finder->findLogger();
    } catch (...) {
        return nullptr;
    }
}

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept { logger_finder.store(finder); }

void complain(char const* format, ...) noexcept {
    char line[1024];
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (nvinfer1::ILogger* logger = find_logger())
        logger->log(nvinfer1::ILogger::Severity::kERROR, line);
    else
        std::fprintf(stderr, "%s\n", line);
}

}  // namespace hidenerf
