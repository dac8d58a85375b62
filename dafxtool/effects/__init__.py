"""Audio effects, built in and VST3: parameters, settings, application."""
