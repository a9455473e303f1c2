// `Animator`: the three engines, one after the other on one stream. Tensors lie at fixed addresses by their names, so
// an output of one engine is the input of another that has its name. A frame is captured once as one CUDA graph.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine.hpp"
#include "gpu.hpp"
#include "tensor.hpp"

namespace sample {

class Animator {
public:
    // plans: folder with led.plan and renderer_refiner.plan, and source_encoder.plan, if the source is encoded here.
    // plugin: library of our plugins, for plans that do not carry it; empty if none.
    // Errors: those of `Engine`, engines that do not fit together.
    Animator(std::filesystem::path const& plans, std::filesystem::path const& plugin);

    // What a source gives: the source encoder's inputs, or, where its plan is not there, its outputs.
    Specs const& source_inputs() const { return source_inputs_; }
    // What every frame gives: the driving SECC, the camera, and the face sight of models that take it.
    Specs const& frame_inputs() const { return frame_inputs_; }
    // [S, S, 3], UINT8, and [S, S], FP32.
    TensorSpec const& frame_spec() const { return specs_.at("frame"); }
    TensorSpec const& alpha_spec() const { return specs_.at("alpha"); }

    // Uploads a source and runs the source encoder. arrays: as `source_inputs`.
    void set_source(Arrays const& arrays);

    // Renders a frame of the source; the first one is captured. arrays: as `frame_inputs`.
    void render(Arrays const& arrays);
    // Renders the same inputs once more.
    void replay();
    // Of the last frame, valid until the next.
    void const* frame() const { return host_.at("frame").get(); }
    void const* alpha() const { return host_.at("alpha").get(); }

    std::vector<Engine> const& engines() const { return engines_; }

private:
    void share_tensors();
    void enqueue_frame();
    void upload(std::string const& name, cudaStream_t stream);
    void capture_frame();

    // Before the contexts in `engines_`, which use it: members are destroyed in the reverse order.
    Stream stream_, side_stream_;
    Event forked_, joined_;
    std::map<std::string, DeviceMemory> memory_;
    DeviceMemory activations_;
    std::map<std::string, HostMemory> host_;
    std::vector<Engine> engines_;
    Specs specs_, source_inputs_, frame_inputs_;
    GraphExec captured_;
};

}  // namespace sample
