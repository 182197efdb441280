// Prints the beginning of an answer of the model in a directory.
#include <edgeslm.hpp>

#include <iostream>

int main(int argc, char **argv) {
    try {
        const auto model = edgeslm::Model::load(argc > 1 ? argv[1] : ".");
        auto session = model.session();
        edgeslm::GenerateOptions options;
        options.max_tokens = 8;
        options.ignore_stop_tokens = true;
        for (std::string_view text : session.turn("Is the door open?", options)) std::cout << text;
    } catch (const edgeslm::Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
