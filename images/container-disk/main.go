// Command container-disk runs in the container of a containerDisk and hands its root folder to the
// launcher: to everyone who connects to the socket it passes one open directory handle of "/".
//
// The launcher then looks the disk up beneath that handle, so nothing has to be mounted and no
// privilege is needed. The handle can read only what the container's own user can.
//
// Source: unix(7) SCM_RIGHTS, inotify(7).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// A peer that does not read its one byte must not hold up the next one.
const sendTimeout = 5 * time.Second

func main() {
	copyPath := flag.String("copy-path", "", "serve the root folder on `PATH`.sock")
	copyTo := flag.String("copy-to", "", "copy this program to `DIR`/container-disk and exit")
	noOp := flag.Bool("no-op", false, "exit at once: shows that the program can be run here")
	flag.Parse()

	var err error
	switch {
	case *noOp:
	case *copyTo != "":
		err = copySelf(*copyTo)
	case *copyPath != "":
		err = serve(*copyPath + ".sock")
	default:
		err = errors.New("give one of --copy-path, --copy-to, --no-op")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "container-disk:", err)
		os.Exit(1)
	}
}

// copySelf puts this program into folder, whole or not at all.
func copySelf(folder string) (err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	temporary, err := os.CreateTemp(folder, ".container-disk-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temporary.Name())
		}
	}()
	if _, err = io.Copy(temporary, self); err != nil {
		temporary.Close()
		return err
	}
	if err = errors.Join(temporary.Chmod(0o755), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), filepath.Join(folder, "container-disk"))
}

// serve passes the handle to all who connect, until it is told to end or the socket is removed.
func serve(socket string) error {
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)

	root, err := syscall.Open("/", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	removed := make(chan error, 1)
	if err := watch(socket, removed); err != nil {
		return err
	}
	go accept(listener, root)

	select {
	case <-stopped:
		// Whoever waits for this container sees at once that nobody answers any more.
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	case err := <-removed:
		return err
	}
}

// listen lets the socket appear under its name only when a connection to it will be answered.
func listen(socket string) (*net.UnixListener, error) {
	temporary := socket + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := os.Rename(temporary, socket); err != nil {
		return nil, err
	}
	return listener, nil
}

func accept(listener *net.UnixListener, root int) {
	for {
		connection, err := listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "container-disk: accept:", err)
			continue
		}
		go send(connection, root)
	}
}

func send(connection *net.UnixConn, root int) {
	defer connection.Close()
	err := connection.SetDeadline(time.Now().Add(sendTimeout))
	if err == nil {
		_, _, err = connection.WriteMsgUnix([]byte{0}, syscall.UnixRights(root), nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "container-disk: send:", err)
	}
}

// watch reports on removed when the socket's name, or its whole folder, is gone.
func watch(socket string, removed chan<- error) error {
	handle, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	folder, name := filepath.Split(socket)
	if folder == "" {
		folder = "."
	}
	mask := uint32(syscall.IN_DELETE | syscall.IN_MOVED_FROM | syscall.IN_DELETE_SELF)
	if _, err := syscall.InotifyAddWatch(handle, folder, mask); err != nil {
		return fmt.Errorf("inotify: watch %s: %w", folder, err)
	}
	if _, err := os.Lstat(socket); err != nil { // it went between listen and the watch
		removed <- nil
		return nil
	}
	go func() { removed <- untilRemoved(handle, name) }()
	return nil
}

func untilRemoved(handle int, name string) error {
	buffer := make([]byte, 64*(syscall.SizeofInotifyEvent+256))
	for {
		size, err := syscall.Read(handle, buffer)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("inotify: %w", err)
		}
		for rest := buffer[:size]; len(rest) > 0; {
			event := (*syscall.InotifyEvent)(unsafe.Pointer(&rest[0]))
			end := syscall.SizeofInotifyEvent + int(event.Len)
			gone := strings.TrimRight(string(rest[syscall.SizeofInotifyEvent:end]), "\x00")
			// IN_IGNORED: the folder went, and the watch with it.
			if gone == name || event.Mask&(syscall.IN_DELETE_SELF|syscall.IN_IGNORED) != 0 {
				return nil
			}
			rest = rest[end:]
		}
	}
}
