// A model in ONNX Runtime through the C++ header. Arguments: the model directory and ONNX Runtime's shared library.

#include <cstdlib>
#include <iostream>
#include <string>

#include "edgeslm.hpp"

int main(int count, char **arguments) {
    if (count != 3) return 2;
    edgeslm::LoadOptions options;
    options.engine = edgeslm::Engine::ort;
    options.provider = edgeslm::Provider::cpu;
    options.ort_library = arguments[2];
    options.provider_options = {{"use_arena", "0"}};
    const edgeslm::Model model = edgeslm::Model::load(arguments[1], options);
    options.provider = edgeslm::Provider::cuda;
    options.provider_options.clear();
    try {
        edgeslm::Model::load(arguments[1], options);
        return 1;
    } catch (const edgeslm::Error &error) {
        if (error.status() != SLM_ENGINE_UNAVAILABLE) return 1;
    }
    if (model.info().find("\"provider\":\"cpu\"") == std::string::npos) return 1;
    std::cout << "a model in ONNX Runtime is told\n";
}
